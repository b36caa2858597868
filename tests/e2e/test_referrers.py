"""Referrers: what cosign and oras attach to an image at the source is at the target, too, and verifies there."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import TOOLS, Hook, Proxy, Registry, Stall, User, log_of, start, wait_for

from imageporter.engine.referrers import fallback_tag

COSIGN, ORAS = TOOLS / "cosign", TOOLS / "oras"
WAYS = {
    "signature tags": ("--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false"),
    "referrers": ("--signing-config={folder}/signing-config.json",),
}


class Cosign:
    """A key pair, and cosign with it, without a transparency log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.run("generate-key-pair")
        self.run("signing-config", "create", f"--out={folder}/signing-config.json")

    @property
    def key(self) -> Path:
        return self.folder / "cosign.pub"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "COSIGN_PASSWORD": "x"}
        return subprocess.run(
            [str(COSIGN), *command], cwd=self.folder, env=environ, capture_output=True, text=True, check=False
        )

    def sign(self, registry: Registry, name: str, way: str) -> None:
        """Sign the image by its digest."""
        reference = f"{registry}/{name.partition(':')[0]}@{registry.digest(name)}"
        flags = (flag.format(folder=self.folder) for flag in WAYS[way])
        done = self.run("sign", "--yes", "--key=cosign.key", "--allow-http-registry", *flags, reference)
        assert done.returncode == 0, done.stderr

    def verifies(self, registry: Registry, name: str, way: str) -> bool:
        """Whether cosign accepts the image."""
        flags = ["--key=cosign.pub", "--insecure-ignore-tlog=true", "--allow-http-registry"]
        flags += ["--new-bundle-format=false"] if way == "signature tags" else []
        return self.run("verify", *flags, f"{registry}/{name}").returncode == 0


def attach(registry: Registry, name: str, text: str) -> str:
    """Attach an artifact with oras; gives its digest."""
    file = registry.config.with_suffix(".txt")
    file.write_text(text)
    command = [str(ORAS), "attach", "--plain-http", "--artifact-type=application/x.test", "--format=json"]
    done = subprocess.run(
        [*command, f"{registry}/{name}", f"{file.name}:text/plain"],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(file.parent)},
    )
    return str(json.loads(done.stdout)["digest"])


def attached(registry: Registry, name: str) -> set[str]:
    """The digests of what oras finds at the image."""
    command = [str(ORAS), "discover", "--plain-http", "--format=json", f"{registry}/{name}"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    )
    return {row["digest"] for row in json.loads(done.stdout)["referrers"] or ()}


@pytest.fixture(scope="module")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    return Cosign(tmp_path_factory.mktemp("cosign") / "keys")


@contextmanager
def serve(folder: Path, name: str, kind: str) -> Iterator[Registry]:
    """A registry with the referrers API, or distribution, which has none."""
    log = folder / f"{name}.log"
    if kind == "with the API":
        command = [str(TOOLS / "referrers_registry"), "127.0.0.1:0"]
        sign = "serving on port "
    else:
        (folder / f"{name}.yml").write_text(
            f"{{version: 0.1, storage: {{filesystem: {{rootdirectory: {folder}/{name}}}}}, http: {{addr: '127.0.0.1:0'}}}}"
        )
        command = [str(TOOLS / "registry"), "serve", str(folder / f"{name}.yml")]
        sign = "listening on 127.0.0.1:"
    with start(command, log, env={"OTEL_TRACES_EXPORTER": "none"}):
        wait_for(lambda: sign in log_of(log), f"{kind}: {log}")
        port = log_of(log).split(sign)[1].split()[0].strip('",')
        yield Registry(f"127.0.0.1:{port}", folder / f"{name}.docker")


@pytest.fixture(params=["with the API", "without it"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    with serve(tmp_path, "source", request.param) as registry:
        yield registry


@pytest.fixture(params=["with the API", "without it"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    with serve(tmp_path, "target", request.param) as registry:
        yield registry


def write(user: User, source: Registry, target: Registry, **options: object) -> None:
    user.write("images.json", {f"{source}/app:1": {"target": f"{target}/mirror/app", "referrers": True, **options}})


def calls(notes: Path) -> list[str]:
    """The calls of crane that are no look-ups, without the one that finds out whether it works."""
    lines = (line.split()[0] for line in notes.read_text().splitlines())
    notes.write_text("")
    return [line for line in lines if line not in {"version", "digest", "manifest"}]


@pytest.mark.parametrize("fast", ["true", "false"])
def test_what_verifies_at_the_source_verifies_at_the_target(
    user: User, source: Registry, target: Registry, cosign: Cosign, fast: str
) -> None:
    source.push("app:1")
    for way in WAYS:
        cosign.sign(source, "app:1", way)
    first = attach(source, "app:1", "a bill of materials")
    write(user, source, target)
    assert not cosign.verifies(target, "mirror/app:1", "referrers")
    run = user.sync(FAST_LOOKUPS=fast)
    assert (run.code, run.outcomes) == (0, {f"{target}/mirror/app:1": "copied"})
    for way in WAYS:
        assert cosign.verifies(target, "mirror/app:1", way), way
    assert attached(target, "mirror/app:1") == attached(source, "app:1") >= {first}

    # nothing is copied if nothing has changed
    crane, notes = user.noting_crane()
    run = user.sync(CRANE=crane, FAST_LOOKUPS=fast)
    assert (run.code, run.outcomes, calls(notes)) == (0, {f"{target}/mirror/app:1": "skipped"}, ["ls"])

    # something new at the source: only that is copied
    second = attach(source, "app:1", "another one")
    run = user.sync(CRANE=crane, FAST_LOOKUPS=fast)
    assert (run.code, run.outcomes, calls(notes)) == (0, {f"{target}/mirror/app:1": "copied"}, ["ls", "copy"])
    assert attached(target, "mirror/app:1") == attached(source, "app:1") >= {first, second}


def test_the_images_of_an_index(user: User, source: Registry, target: Registry, cosign: Cosign) -> None:
    source.push_index("app:1")
    cosign.sign(source, "app:linux-arm64", "referrers")
    cosign.sign(source, "app:linux-arm64", "signature tags")
    write(user, source, target)
    assert user.sync().code == 0
    child = f"mirror/app@{source.digest('app:linux-arm64')}"
    for way in WAYS:
        assert cosign.verifies(target, child, way)
        assert not cosign.verifies(target, f"mirror/app@{source.digest('app:linux-amd64')}", way)

    # the index of some platforms is another one, but its images are the same
    write(user, source, target, platforms=["linux/arm64"])
    target_name = f"{target}/other/app"
    user.write(
        "images.json",
        {f"{source}/app:1": {"target": target_name, "referrers": True, "platforms": ["linux/arm64"]}},
    )
    assert user.sync().code == 0
    for way in WAYS:
        assert cosign.verifies(target, child.replace("mirror/", "other/"), way)
    assert user.sync().outcomes == {f"{target_name}:1": "skipped"}
    # what is attached later is found, too
    later = attach(source, "app:linux-arm64", "later")
    assert user.sync().outcomes == {f"{target_name}:1": "copied"}
    assert later in attached(target, child.replace("mirror/", "other/"))


def test_without_the_option_nothing_is_copied_along(user: User, source: Registry, target: Registry, cosign: Cosign) -> None:
    source.push("app:1")
    cosign.sign(source, "app:1", "signature tags")
    user.write("images.json", {f"{source}/app:1": f"{target}/mirror/app"})
    assert user.sync().code == 0
    assert target.tags("mirror/app") == ["1"]


def test_a_dry_run(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    write(user, source, target)
    assert user.sync().code == 0
    attach(source, "app:1", "new")
    assert user.sync(DRY_RUN="true").outcomes == {f"{target}/mirror/app:1": "would-copy"}
    assert attached(target, "mirror/app:1") == set()


def test_a_push_copies_what_refers_to_the_image(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    digest = attach(source, "app:1", "new")
    write(user, source, target)
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/app:1")[0] == 202
    assert user.sync("--queue").outcomes == {f"{target}/mirror/app:1": "copied"}
    assert attached(target, "mirror/app:1") == {digest}


def test_other_artifacts_are_copied_and_skipped_when_unchanged(user: User, source: Registry, target: Registry) -> None:
    """Helm charts, ORAS artifacts, WASM: whatever has a manifest."""
    file = user.home / "chart.tgz"
    types = {
        "chart:1": ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
        "wasm:1": ("application/vnd.wasm.config.v0+json", "application/wasm"),
        "plain:1": ("application/x.anything", "text/plain"),
    }
    for name, (artifact, media_type) in types.items():
        file.write_text(name)
        subprocess.run(
            [str(ORAS), "push", "--plain-http", f"--artifact-type={artifact}", f"{source}/{name}", f"chart.tgz:{media_type}"],
            cwd=user.home,
            capture_output=True,
            check=True,
            env={"PATH": os.environ["PATH"], "HOME": str(user.home)},
        )
    user.images(*((f"{source}/{name}", f"{target}/mirror/{name}") for name in types))
    assert set(user.sync().outcomes.values()) == {"copied"}
    for name in types:
        assert target.manifest(f"mirror/{name}") == source.manifest(name)
    assert set(user.sync().outcomes.values()) == {"skipped"}


@pytest.mark.parametrize("way", WAYS)
def test_only_a_signed_image_is_copied(user: User, source: Registry, target: Registry, cosign: Cosign, way: str) -> None:
    for name in ("signed", "unsigned", "other"):
        source.push(f"{name}:1", name)
    cosign.sign(source, "signed:1", way)
    other = Cosign(user.home / "other keys")
    other.sign(source, "other:1", way)
    rule = {"signed": {"key": str(cosign.key)}}
    user.write(
        "images.json",
        {f"{source}/{name}:1": {"target": f"{target}/{name}", **rule} for name in ("signed", "unsigned", "other")},
    )
    run = user.sync()
    assert run.code == 1
    assert target.digest("signed:1") == source.digest("signed:1")
    errors = {row["source"]: row["error"] for row in run.events("image.done") if row.get("error")}
    for name in ("unsigned", "other"):
        assert target.tags(name) == []
        reference = f"{source}/{name}@{source.digest(f'{name}:1')}"
        assert errors[f"{source}/{name}:1"].startswith(f"source rejected: {reference} is not signed with {cosign.key}: ")
    # a push does not go around it
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/unsigned:1")[0] == 202
    assert user.sync("--queue").code == 1
    assert target.tags("unsigned") == []


def test_keys_and_programs_that_are_missing(user: User, source: Registry, target: Registry, cosign: Cosign) -> None:
    rule = {"target": f"{target}/app", "signed": {"key": "missing.pub"}}
    user.write("images.json", {f"{source}/app:1": rule})
    run = user.run("sync.py")
    assert (run.code, run.lines[-1]) == (
        2,
        f"ERROR images.json: [\"{source}/app:1\"].signed.key: 'missing.pub' cannot be read: No such file or directory; "
        "name the file with cosign's public key",
    )
    user.write("images.json", {f"{source}/app:1": rule | {"signed": {"key": str(cosign.folder / "cosign.key")}}})
    assert (
        "contains no public key; name the file that `cosign generate-key-pair` calls cosign.pub" in user.run("sync.py").output
    )
    user.write("images.json", {f"{source}/app:1": rule | {"signed": {"key": str(cosign.key)}}})
    run = user.run("sync.py", COSIGN="/nowhere/cosign")
    assert (run.code, run.lines[-1]) == (
        2,
        "ERROR COSIGN: '/nowhere/cosign' is not a program that can be run; install it, or set COSIGN to the path of cosign",
    )


def answering(body: str, status: str = "200 OK", header: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{header}\r\n"
    return (head + body).encode()


@pytest.mark.parametrize(
    "body",
    ["", "<html>", '{"errors": []}', '{"manifests": null}', '{"manifests": [{"digest": "sha512:00"}]}', '{"manifests": [{}]}'],
)
def test_a_list_of_referrers_that_is_none_is_a_failure(user: User, body: str, tmp_path: Path) -> None:
    """It must not look like an empty list."""
    with serve(tmp_path, "source", "with the API") as source:
        source.push("app:1")
        proxy = Proxy(source, lambda request: answering(body) if b"GET /v2/app/referrers/" in request else None)
        user.write("images.json", {f"{proxy}/app:1": {"target": f"{source}/copy/app", "referrers": True}})
        run = user.sync()
    assert run.code == 1
    (error,) = [row["error"] for row in run.events("image.done")]
    assert error == f"source failed: {proxy}/app: the registry's list of referrers is not an index of sha256 digests"


def test_pages_of_referrers(user: User, tmp_path: Path) -> None:
    with serve(tmp_path, "source", "with the API") as source:
        digest = source.push("app:1")
        attached_here = [attach(source, "app:1", text) for text in ("one", "two")]
        first, second = (json.dumps({"manifests": [{"digest": one}]}) for one in attached_here)

        def page(request: bytes) -> bytes | None:
            if b"/referrers/" not in request:
                return None
            if b"?page=2" in request:
                return answering(second)
            return answering(first, header=f'Link: </v2/app/referrers/{digest}?page=2>; rel="next"\r\n')

        proxy = Proxy(source, page)
        user.write("images.json", {f"{proxy}/app:1": {"target": f"{source}/copy/app", "referrers": True}})
        assert user.sync().code == 0
        assert attached(source, "copy/app:1") == set(attached_here)

        def elsewhere(request: bytes) -> bytes | None:
            link = 'Link: <https://x.example/>; rel="next"\r\n'
            return answering(first, header=link) if b"/referrers/" in request else None

        other = Proxy(source, elsewhere)
        user.write("images.json", {f"{other}/app:1": {"target": f"{source}/copy/app", "referrers": True}})
        run = user.sync()
        assert run.code == 1
        assert run.events("image.done")[0]["error"].endswith("app: the list of referrers continues at an unknown place")


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "405 Method Not Allowed", "501 Not Implemented"])
def test_a_registry_that_does_not_know_the_api(user: User, status: str, tmp_path: Path) -> None:
    with serve(tmp_path, "source", "without it") as source:
        source.push("app:1")
        digest = attach(source, "app:1", "new")
        proxy = Proxy(source, lambda request: answering("", status) if b"/referrers/" in request else None)
        user.write("images.json", {f"{proxy}/app:1": {"target": f"{source}/copy/app", "referrers": True}})
        assert user.sync().code == 0
        assert attached(source, "copy/app:1") == {digest}


def test_a_referrer_that_the_target_does_not_list_is_a_failure(user: User, tmp_path: Path) -> None:
    """The process was killed, say, between the referrer and the tag that lists it. crane does not push it again."""
    with (
        serve(tmp_path, "source", "without it") as source,
        serve(tmp_path, "target", "without it") as target,
    ):
        source.push("app:1")
        digest = attach(source, "app:1", "new")
        write(user, source, target)
        assert user.sync().code == 0
        target.crane("delete", f"{target}/mirror/app:{fallback_tag(source.digest('app:1'))}", check=False)
        lists = target.config.parent / "target/docker/registry/v2/repositories/mirror/app/_manifests/tags"
        shutil.rmtree(lists / fallback_tag(source.digest("app:1")), ignore_errors=True)
        assert attached(target, "mirror/app:1") == set()
        run = user.sync()
        if run.code == 0:  # crane has listed it again
            assert attached(target, "mirror/app:1") == {digest}
        else:
            (error,) = [row["error"] for row in run.events("image.done")]
            assert f"is there, but not listed as a referrer of {source.digest('app:1')}; delete it there" in error


def test_a_signal_while_the_tags_are_listed(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    stall = Stall(b"/tags/list")
    proxy = Proxy(source, stall)
    user.write("images.json", {f"{proxy}/app:1": {"target": f"{target}/app", "referrers": True}})
    with user.running("sync.py", RETRIES="0") as running:
        wait_for(stall.holding.is_set, "the tags are listed")
        assert running.end(signal.SIGTERM, seconds=10).code == 143
    stall.release.set()
