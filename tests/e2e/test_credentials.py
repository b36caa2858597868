"""Which account crane really uses, and for whom it is insecure: seen from the registries' side."""

import base64
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from support import REGISTRY_BINARY, Proxy, Registry, User, free_port, log_of, start, wait_for

PASSWORDS = {"alice": "wonder-land-1", "bob": "builder-2"}


class Witness:
    """A `meddle` that wants an account of everybody, and writes down who asks for which repository."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str | None]] = defaultdict(set)
        self.lock = threading.Lock()

    def __call__(self, request: bytes) -> bytes | None:
        head = request.decode(errors="replace")
        named = re.search(r"^Authorization: Basic (\S+)", head, re.MULTILINE)
        who = base64.b64decode(named[1]).decode().partition(":")[0] if named else None
        if repository := re.match(r"[A-Z]+ /v2/(\S+?)/(?:manifests|blobs|tags)/", head):
            with self.lock:
                self.seen[repository[1]].add(who)
        if re.match(r"GET /v2/ ", head) and who is None:
            challenge = 'WWW-Authenticate: Basic realm="all"'
            return f"HTTP/1.1 401 Unauthorized\r\n{challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        return None


@pytest.fixture
def two_users(tmp_path: Path) -> Iterator[tuple[Registry, Path]]:
    """A distribution registry that knows alice and bob, and its access log."""
    hashes = [f"{who}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(rounds=4)).decode()}" for who, word in PASSWORDS.items()]
    (tmp_path / "htpasswd").write_text("\n".join(hashes) + "\n")
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "config.yml").write_text(f"""
version: 0.1
log: {{level: info, formatter: json, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}
auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}
http: {{addr: {address}}}
""")
    log = tmp_path / "registry.log"
    with start([str(REGISTRY_BINARY), "serve", str(tmp_path / "config.yml")], log, env={"OTEL_TRACES_EXPORTER": "none"}):
        wait_for(lambda: "listening on" in log_of(log), f"distribution: {log}")
        registry = Registry(address, tmp_path / "docker", ("alice", PASSWORDS["alice"]))
        registry.login()
        yield registry, log


def test_each_repository_only_ever_saw_its_own_user(user: User, two_users: tuple[Registry, Path]) -> None:
    """100 images from alice's namespace to bob's on one host: 100 probes each side, 100 copies, 100 verifications."""
    registry, log = two_users
    digests = {}
    for number in range(4):
        digests[number] = registry.push(f"alice/app{number}:t0", str(number))
        for tag in range(1, 25):
            registry.crane("tag", f"{registry}/alice/app{number}:t0", f"t{tag}")
    before = len(log_of(log))
    user.write("accounts.json", {f"{registry}/{who}": {"username": who, "password": PASSWORDS[who]} for who in PASSWORDS})
    user.write("images.json", {f"{registry}/alice/app{number}": f"{registry}/bob/app{number}" for number in range(4)})

    # distribution may refuse an image whose layers another copy is just pushing to the same repository
    run = user.sync(JOBS="8", PROBES="16", PROBE_TIMEOUT="600", RETRIES="5")
    output = log_of(log)[before:]
    assert run.code == 0, run.output
    assert run.events("pass.done")[0]["copied"] == 100
    assert {number: registry.digest(f"bob/app{number}:t24") for number in digests} == digests

    seen: dict[str, set[str]] = defaultdict(set)
    requests = 0
    for line in output.splitlines():
        row = json.loads(line) if line.startswith("{") else {}
        if "vars.name" in row and "auth.user.name" in row:
            seen[row["vars.name"].partition("/")[0]].add(row["auth.user.name"])
            requests += 1
    assert requests > 300
    assert seen == {"alice": {"alice"}, "bob": {"bob"}}


def test_a_namespace_account_beside_anonymous_access_on_one_host(user: User, source: Registry) -> None:
    """And another namespace's account beside it: the anonymous side gets neither."""
    witness = Witness()
    digest = source.push("open/app:1")
    host = Proxy(source, witness)
    team, other = ({"username": who, "password": PASSWORDS[who]} for who in ("alice", "bob"))
    user.write("accounts.json", {f"{host}/team": team, f"{host}/other": other})
    user.write(
        "images.json",
        {f"{host}/open/app:1": [f"{host}/team/app", f"{host}/other/app"], f"{host}/team/app:1": f"{host}/open/back:9"},
    )
    run = user.sync(JOBS="1", PROBES="1")  # in the file's order: team/app is there when it is looked for
    assert run.code == 0, run.output
    assert source.digest("team/app:1") == source.digest("other/app:1") == source.digest("open/back:9") == digest
    assert witness.seen == {"open/app": {None}, "team/app": {"alice"}, "other/app": {"bob"}, "open/back": {None}}


def test_two_accounts_of_two_hosts(user: User, source: Registry, target: Registry) -> None:
    witnesses = Witness(), Witness()
    digest = source.push("app:1")
    here, there = Proxy(source, witnesses[0]), Proxy(target, witnesses[1])
    hosts = {"alice": str(here), "bob": str(there)}
    user.write("accounts.json", {host: {"username": who, "password": PASSWORDS[who]} for who, host in hosts.items()})
    user.images((f"{here}/app:1", f"{there}/app:1"))
    assert user.sync().code == 0
    assert target.digest("app:1") == digest
    assert [witness.seen for witness in witnesses] == [{"app": {"alice"}}, {"app": {"bob"}}]


def test_variables_in_the_accounts(user: User, source: Registry, target: Registry) -> None:
    witness = Witness()
    source.push("app:1")
    host = Proxy(source, witness)
    secret = user.write("secret", PASSWORDS["alice"] + "\n")
    user.write("accounts.yaml", f"{host}: {{username: $WHO, password: '${{PASS}}'}}")
    user.images((f"{host}/app:1", f"{target}/app:1"))
    run = user.sync(WHO="alice", PASS_FILE=str(secret))
    assert run.code == 0
    assert witness.seen == {"app": {"alice"}}

    run = user.run("sync.py", WHO="alice")
    assert run.code == 2
    words = "names PASS, which is not set; set it, or write $$ for a dollar sign"
    assert run.lines == [f'ERROR accounts.yaml: ["{host}"].password: {words}']


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Registry]:
    """A registry without TLS at an address that crane does not take for a local one."""
    with Registry.serve(tmp_path / "plain.log", "127.0.0.2:0") as registry:
        registry.address = registry.address.replace("127.0.0.1", "127.0.0.2")
        yield registry


def push_plainly(registry: Registry, name: str) -> str:
    """Push an index to a registry without TLS; gives its digest."""
    local = Registry(registry.address, registry.config, insecure=True)
    return local.push_index(name)


def test_plain_http_for_the_registry_that_is_named_alone(user: User, plain: Registry, target: Registry) -> None:
    digest = push_plainly(plain, "app:1")
    user.images((f"{plain}/app:1", f"{target}/app:1"))
    crane, notes = user.noting_crane()
    what = f'without TLS: Get "https://{plain}/v2/": http: server gave HTTP response to HTTPS client'
    what += "; if it is meant to have no TLS, "
    for accounts, advice in (
        (None, f'write [{{"registry": "{plain}", "insecure": true}}] into accounts.json'),
        ([], f'add {{"registry": "{plain}", "insecure": true}} to the list in accounts.json'),
        ({"x.io": {"insecure": True}}, f'add "{plain}": {{"insecure": true}} to accounts.json'),
        (
            {str(plain): {"username": "a", "password": "b"}},
            f'add "insecure": true to the account of {plain} in accounts.json',
        ),
    ):
        if accounts is not None:
            user.write("accounts.json", accounts)
        run = user.sync(RETRIES="2", CRANE=crane)
        assert run.code == 1
        assert run.events("image.done")[0]["error"] == f"source {what}{advice}"
        assert run.events("image.retry") == run.events("registry.paused") == []
    # it responds, so it is no outage: every image fails at once, and one crane is enough for all of them
    user.images(*((f"{target}/app:{number}", f"{plain}/app:{number}") for number in range(50)))
    target.push("app:0")
    for number in range(1, 50):
        target.crane("tag", f"{target}/app:0", str(number))
    notes.unlink()
    run = user.sync(RETRIES="2", CRANE=crane)
    assert run.code == 1
    assert {row["error"] for row in run.events("image.done")} == {f"target {what}{advice}"}
    assert len([line for line in notes.read_text().splitlines() if f"digest {plain}" in line]) <= 32
    assert not [line for line in notes.read_text().splitlines() if line.startswith("copy")]
    user.images((f"{plain}/app:1", f"{target}/app:1"))

    user.write("accounts.json", {str(plain): {"insecure": True}})
    assert user.sync().code == 0
    assert target.digest("app:1") == digest
    # all tags, listed without TLS
    user.write("images.json", {f"{plain}/app": f"{target}/all"})
    assert user.sync().code == 0
    assert sorted(target.tags("all")) == ["1", "linux-amd64", "linux-arm64"]


def test_a_secure_side_with_a_bad_certificate_still_fails(user: User, plain: Registry, guarded: Registry) -> None:
    digest = push_plainly(plain, "app:1")
    assert guarded.account
    who, word = guarded.account
    accounts = {str(plain): {"insecure": True}, str(guarded): {"username": who, "password": word}}
    user.write("accounts.json", accounts)
    user.images((f"{plain}/app:1", f"{guarded}/from/plain:1"))
    for run in (user.sync(RETRIES="2"), user.sync("--dry-run")):
        assert run.code == 1
        assert run.events("image.done")[0]["error"] == (
            f'target not trusted: Get "https://{guarded}/v2/": tls: failed to verify certificate: '
            "x509: certificate signed by unknown authority; set SSL_CERT_FILE to the certificate of its authority or, "
            f'to trust any certificate, add "insecure": true to the account of {guarded} in accounts.json'
        )
        assert run.events("image.retry") == []
    assert guarded.digest("from/plain:1") == ""

    # with its authority known, an index passes from the insecure side to the secure one, whole
    wrapper, output = user.noting_crane()
    run = user.sync(**guarded.environ, CRANE=wrapper)
    assert run.code == 0, run.output
    commands = output.read_text().splitlines()
    assert {str(guarded) in command for command in commands if "--insecure" in command} == {False}
    assert {"--insecure" in command for command in commands if str(plain) in command} == {True}
    assert guarded.digest("from/plain:1") == digest
    guarded.crane("validate", "--remote", f"{guarded}/from/plain:1")
    assert list(user.tmp.iterdir()) == []

    # and back, to an insecure target
    user.images((f"{guarded}/from/plain:1", f"{plain}/back:1"))
    assert user.sync(**guarded.environ).code == 0

    # where the user says so, the certificate does not matter
    user.write("accounts.json", accounts | {str(guarded): {"username": who, "password": word, "insecure": True}})
    user.images((f"{plain}/app:1", f"{guarded}/insecure/too:1"))
    assert user.sync().code == 0
    assert guarded.digest("insecure/too:1") == digest
