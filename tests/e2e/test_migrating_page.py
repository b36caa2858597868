"""migrating.md in both languages: every file is converted, and what becomes of it is synced with the accounts of the page.

`PYTHONPATH=.:tests python tests/e2e/test_migrating_page.py` writes the outputs into both pages.
"""

import contextlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pages import LANGUAGES, code_blocks, marked, page_path
from ruamel.yaml import YAML
from support import BUNDLE, CRANE, Hook, Registry, Run, User, certify

from imageporter.config.accounts_file import load_accounts
from imageporter.config.settings import VARIABLES
from imageporter.system.errors import Problems

LIST_FROM = re.compile(r"<!-- list-from (\S+) -->\n```yaml\n(.*?)```\n\n```text\n\$ sync.py ([^\n]+)\n(.*?)```", re.DOTALL)
EXPLAIN = re.compile(
    r"<!-- explain -->\n```json\n(.*?)```\n\n```json\n(.*?)```\n\n```text\n\$ sync.py --explain\n(.*?)```", re.DOTALL
)
# The accounts of the pages, at docker.io and at registry.example.com. quay.io is anonymous.
HUB = ("me", "PASSWORD")
MIRROR = ("mirror", "MIRROR")
TAGS = {
    "library/redis": ("7.4.1", "8.0.0"),
    "library/golang": ("1.25.9", "1.26.4", "1.27.0", "1.27.1-rc1"),
    "library/postgres": ("16.9", "17.5", "18.0", "19.0", "latest"),
}
EXPORTER = {"prometheus/node-exporter": ("v1.9.1", "latest")}


@dataclass(frozen=True)
class Site:
    """The registries of the pages: docker.io and registry.example.com with an account each, and quay.io."""

    hub: Registry
    quay: Registry
    mirror: Registry

    @classmethod
    @contextmanager
    def of_sources(cls, folder: Path) -> Iterator["Site"]:
        """Serve docker.io and quay.io with their images; `with_mirror` adds the target."""
        authority = certify(folder)
        with (
            Registry.guarded(folder / "hub", authority, HUB, host="127.0.0.2") as hub,
            Registry.serve(folder / "quay.log") as quay,
        ):
            for registry, repositories in ((hub, TAGS), (quay, EXPORTER)):
                for image in (f"{name}:{tag}" for name, tags in repositories.items() for tag in tags):
                    registry.push(image, image)
            hub.push_index("build/index:1")  # which leaves a tag for each platform
            hub.crane("copy", f"{hub}/build/index:1", f"{hub}/library/redis:8.0.0")
            yield cls(hub, quay, mirror=hub)

    @contextmanager
    def with_mirror(self, folder: Path) -> Iterator["Site"]:
        """Serve an empty registry.example.com."""
        assert self.hub.authority
        with Registry.guarded(folder, self.hub.authority, MIRROR) as mirror:
            yield replace(self, mirror=mirror)

    @property
    def names(self) -> dict[str, str]:
        """The address for each host of the pages."""
        return {"docker.io": str(self.hub), "quay.io": str(self.quay), "registry.example.com": str(self.mirror)}

    def here(self, text: str) -> str:
        """Replace the hosts of the page."""
        for name, address in self.names.items():
            text = text.replace(name, address)
        return text

    def there(self, text: str) -> str:
        """Replace ours."""
        for name, address in self.names.items():
            text = text.replace(address, name)
        return text

    @property
    def environ(self) -> dict[str, str]:
        """What the user of the page has set: the accounts are variables in some of its files."""
        return {"HUB_USER": HUB[0], "HUB_TOKEN": HUB[1], "MIRROR_PASSWORD": MIRROR[1], **self.hub.environ}

    def digest(self, image: str) -> str:
        """The digest of an image of the page at its source."""
        host, _, name = image.partition("/")
        return {"docker.io": self.hub, "quay.io": self.quay}[host].digest(name)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site.of_sources(tmp_path_factory.mktemp("sources")) as site:
        yield site


@pytest.fixture
def site(sources: Site, tmp_path: Path) -> Iterator[Site]:
    with sources.with_mirror(tmp_path / "mirror") as site:
        yield site


@pytest.fixture(params=LANGUAGES)
def page(request: pytest.FixtureRequest) -> str:
    """One page after the other."""
    return page_path("migrating", request.param).read_text(encoding="utf-8")


def listed(user: User, name: str, content: str, flags: str) -> str:
    """What `sync.py --list-from` prints for a file of the page."""
    user.write(name, content)
    run = user.run("sync.py", *flags.split())
    assert run.code in {0, 1}, run.output
    return run.output


def explained(user: User, site: Site, images: str, accounts: str) -> str:
    """What `sync.py --explain` prints for files of image-syncer, in the page's words."""
    for name, content in (("images.json", images), ("auth.json", accounts)):
        user.write(name, site.here(content))
    run = user.run("sync.py", "--explain", LOG_LEVEL="WARNING", **site.environ)
    assert run.code == 0, run.output
    return site.there(run.output)


def shell(user: User, script: str, env: Mapping[str, str] = {}) -> Run:
    """Run a script of the page, in which sync.py is ours."""
    sync = f'sync.py() {{ {shlex.quote(sys.executable)} {shlex.quote(str(BUNDLE / "sync.py"))} "$@"; }}'
    return user.execute(["bash", "-c", f"{sync}\nset -e\n{script}"], env)


def convert(user: User, site: Site, page: str, name: str) -> str:
    """Convert the file `name` of the page into images.yaml; gives what has no row."""
    ((content, flags),) = [(content, flags) for found, content, flags, _ in LIST_FROM.findall(page) if found == name]
    user.write(name, site.here(content))
    return shell(user, f"sync.py {site.here(flags)} > images.yaml || test $? = 1").output


def migrate(user: User, site: Site, expected: Mapping[str, str], environ: Mapping[str, str] = {}) -> None:
    """Try the user's files as the page says, then sync: the target holds exactly the `expected` {target: source}."""
    environ = environ or site.environ
    names = {f"{site.mirror}/{target}" for target in expected}
    explain = user.run("sync.py", "--explain", **environ)
    assert explain.code == 0, explain.output
    assert {line.split(" -> ")[1] for line in explain.output.splitlines() if line.startswith("  ") and " -> " in line} == names
    dry = user.sync("--dry-run", **environ)
    assert (dry.code, dry.outcomes) == (0, dict.fromkeys(names, "would-copy")), dry.output
    assert not [row for row in dry.rows if row["level"] in {"WARNING", "ERROR"}], dry.output
    run = user.sync(**environ)
    assert (run.code, run.outcomes) == (0, dict.fromkeys(names, "copied")), run.output
    assert {name: site.mirror.digest(name) for name in expected} == {name: site.digest(one) for name, one in expected.items()}


def both(repository: str, tags: Sequence[str], prefix: str = "mirror", host: str = "docker.io/library") -> dict[str, str]:
    """{target: source} for some tags of a repository whose last part stays."""
    return {f"{prefix}/{repository}:{tag}": f"{host}/{repository}:{tag}" for tag in tags}


def test_rows_from_other_files(page: str, user: User) -> None:
    found = LIST_FROM.findall(page)
    assert [name for name, *_ in found] == ["regsync.yml", "skopeo.yaml", "dregsy.yaml"]
    for name, content, flags, output in found:
        assert listed(user, name, content, flags) == output


def test_both_languages_show_the_same_code() -> None:
    english, chinese = (code_blocks(page_path("migrating", language).read_text(encoding="utf-8")) for language in LANGUAGES)
    assert english == chinese


def test_regsync(page: str, user: User, site: Site) -> None:
    """With the password in a file, as the page says for `{{file "..."}}`."""
    user.write("accounts.yaml", site.here(marked(page, "accounts regsync")))
    assert len(convert(user, site, page, "regsync.yml").splitlines()) == 2
    secret = user.write("mirror", MIRROR[1])
    environ = {name: value for name, value in site.environ.items() if name != "MIRROR_PASSWORD"}
    environ |= {"MIRROR_PASSWORD_FILE": str(secret)}
    migrate(user, site, both("redis", ["8.0.0"]) | both("golang", ["1.26.4", "1.27.0"]), environ)


SKOPEO = both("redis", ["7.4.1", "8.0.0"]) | both("golang", ["1.26.4", "1.27.0", "1.27.1-rc1"])
SKOPEO |= both("postgres", ["17.5", "18.0"]) | both("node-exporter", ["v1.9.1", "latest"], host="quay.io/prometheus")


def test_skopeo(page: str, user: User, site: Site) -> None:
    user.write("accounts.yaml", site.here(marked(page, "accounts skopeo")))
    assert len(convert(user, site, page, "skopeo.yaml").splitlines()) == 1
    migrate(user, site, SKOPEO)


def test_the_names_of_skopeos_targets(page: str, user: User) -> None:
    """The table of `--target`."""
    content = "docker.io: {images: {library/redis: ['8']}}\n"
    rows = re.findall(r"^\| [^|]+ \| `(registry.example.com/mirror[^`]*)` \| `([^`]+)` \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for target, expected in rows:
        user.write("images.yaml", listed(user, "skopeo.yaml", content, f"--list-from skopeo.yaml --target {target}"))
        assert f" -> {expected}:8\n" in user.run("sync.py", "--explain").output


def test_the_accounts_of_docker_login(page: str, user: User, site: Site) -> None:
    """With them, the rows of skopeo's file are synced."""
    docker = user.home / ".docker"
    environ = {"DOCKER_CONFIG": str(docker), **site.environ}
    odd = ("$me", 'p"$$a${b}:ß')
    logins = [(str(site.hub), *HUB), (str(site.mirror), *MIRROR), ("docker.io", *odd), ("quay.example.com/team", "a", "b")]
    for host, username, password in logins:
        if "/" in host:  # podman's, which crane does not write
            continue
        command = [str(CRANE), "auth", "login", host, "-u", username, "-p", password]
        subprocess.run(command, env=environ, check=True, capture_output=True)
    config = json.loads((docker / "config.json").read_text())
    config["auths"] |= {"quay.example.com/team": {"auth": "YTpi"}, "helper.example.com": {}}
    (docker / "config.json").write_text(json.dumps(config))

    run = shell(user, marked(page, "docker-login"), {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    assert (run.code, run.output) == (0, "")
    path = user.folder / "accounts.json"
    assert path.stat().st_mode & 0o777 == 0o600
    problems = Problems()
    accounts = load_accounts(path, problems, {})
    assert list(problems) == []
    assert sorted((one.prefix, one.username, one.password) for one in accounts) == sorted(logins)
    convert(user, site, page, "skopeo.yaml")
    migrate(user, site, SKOPEO)


def test_image_syncers_files_are_used_unchanged(page: str, user: User, site: Site) -> None:
    (found,) = EXPLAIN.findall(page)
    images, accounts, output = found
    assert explained(user, site, images, accounts) == output
    exporter = both("node-exporter", EXPORTER["prometheus/node-exporter"], host="quay.io/prometheus")
    copy = {name.replace("mirror/node-", "copy/"): source for name, source in exporter.items()}
    redis, golang = both("redis", ["7.4.1", "8.0.0"]), both("golang", ["1.26.4", "1.27.0", "1.27.1-rc1"])
    migrate(user, site, redis | golang | exporter | copy)


@pytest.mark.parametrize("flags", [(), ("-c", "other.json"), ("--accounts", "a.json", "--images", "i.json")])
def test_image_syncers_files_by_other_names(user: User, site: Site, flags: tuple[str, ...]) -> None:
    ((images, accounts, _),) = EXPLAIN.findall(page_path("migrating", "en").read_text())
    if "--images" in flags:
        user.write("a.json", site.here(accounts))
        user.write("i.json", site.here(images))
    else:
        combined = {"auth": json.loads(accounts), "images": json.loads(images)}
        user.write("other.json" if flags else "config.json", site.here(json.dumps(combined)))
    run = user.sync(*flags, "--dry-run", **site.environ)
    assert (run.code, set(run.outcomes.values())) == (0, {"would-copy"})


def test_what_image_syncer_takes_and_imageporter_refuses(user: User) -> None:
    user.write("images.json", {"docker.io/library/redis:8": "$REGISTRY/redis"})
    user.write("auth.json", {"docker.io": {"username": "", "password": ""}})
    run = user.run("sync.py")
    assert run.code == 2
    assert [line.split(": ")[1] for line in run.lines if line.startswith("ERROR")] == [
        '["docker.io"].username',
        '["docker.io"].password',
        '["docker.io/library/redis:8"]',
    ]


def test_the_image_syncer_with_a_webhook(page: str, user: User, site: Site) -> None:
    (user.folder / "configs").mkdir()
    content = marked(page, "sync.yaml")
    user.write("configs/sync.yaml", site.here(content))
    accounts = json.loads(site.here(EXPLAIN.findall(page)[0][1]))
    user.write("auth.yaml", json.dumps(accounts))
    auth = YAML(typ="safe", pure=True).load(content)["auth"]
    account = (auth["Username"], auth["Password"])
    name = f"{site.hub}/library/redis"
    environ = {**site.environ, "HOOK_LISTEN": Hook.ENV["HOOK_LISTEN"]}
    with user.running("hook.py", **environ) as running:
        hook = Hook(running)
        status, response = hook.hook(f"{name}:8.0.0", account=account)
        assert (status, [row["target"] for row in response["queued"]]) == (202, [f"{site.mirror}/library/redis:8.0.0"])
        statuses = [
            hook.hook(f"{name}:8.0.0", account=account)[0],
            hook.hook(f"{name}:8.0.0", account=(account[0], "wrong"))[0],
            hook.hook(f"{site.hub}/other/redis:1", account=account)[0],
            hook.hook(f"{name}:1-SNAPSHOT", account=account)[0],
            hook.hook("redis:1", account=account)[0],
            hook.call(f"/images/sync/hook?name={name}", account=account)[0],
        ]
        assert statuses == [200, 401, 404, 406, 406, 400]
    run = user.sync("--queue", **environ)
    assert (run.code, run.outcomes) == (0, {f"{site.mirror}/library/redis:8.0.0": "copied"})
    with user.running("hook.py", **environ) as running:
        assert Hook(running).hook(f"{name}:1-snapshot", account=account)[0] == 202


def test_the_queue_of_the_image_syncer_with_a_webhook_is_no_list_of_images(user: User) -> None:
    user.write("images.json", {"docker.io/library/redis:8&registry.example.com": 0})
    assert user.run("sync.py").code == 2


def test_the_first_imageporter(page: str, user: User, site: Site) -> None:
    """The two files and the variables of its manual."""
    service = YAML(typ="safe", pure=True).load(marked(page, "compose"))["services"]["imageporter"]
    environ = service["environment"]
    assert set(environ) == {"TZ", "CRON", "RUN_ONCE", "DRY_RUN", "SLEEP_TIME", "RETRY_DELAY_TIME"} <= set(VARIABLES)
    shipped = YAML(typ="safe", pure=True).load((BUNDLE / "docker-compose.yml").read_text())["services"]["imageporter"]
    assert service == shipped | {"environment": environ}
    assert environ.items() <= shipped["environment"].items()
    pairs = [("library/redis:8.0.0", "mirror/redis:8.0.0"), ("library/postgres:latest", "mirror/postgres:latest")]
    user.images(*((f"{site.hub}/{source}", f"{site.mirror}/{target}") for source, target in pairs))
    rows = [{"username": one.account[0], "password": one.account[1], "registry": str(one)}
            for one in (site.hub, site.mirror) if one.account]  # fmt: skip
    user.write("accounts.json", rows)
    once: dict[str, Any] = {**site.environ, **environ, "RUN_ONCE": "true", "SLEEP_TIME": "0", "LOG_FORMAT": "json"}
    dry = user.run("entrypoint.py", **once | {"DRY_RUN": "true"})
    assert (dry.code, set(dry.outcomes.values())) == (0, {"would-copy"})
    run = user.run("entrypoint.py", **once)
    assert (run.code, run.outcomes) == (0, {f"{site.mirror}/{target}": "copied" for _, target in pairs})
    assert site.mirror.digest("mirror/redis:8.0.0") == site.hub.digest("library/redis:8.0.0")


def test_dregsy(page: str, user: User, site: Site) -> None:
    user.write("accounts.yaml", site.here(marked(page, "accounts dregsy")))
    assert len(convert(user, site, page, "dregsy.yaml").splitlines()) == 2
    migrate(user, site, both("redis", ["8.0.0"]) | both("golang", ["1.26.4", "1.27.0"]))


def test_the_passwords_of_dregsy(page: str) -> None:
    accounts = YAML(typ="safe", pure=True).load(marked(page, "accounts dregsy"))
    (content,) = [content for name, content, *_ in LIST_FROM.findall(page) if name == "dregsy.yaml"]
    task = YAML(typ="safe", pure=True).load(content)["tasks"][0]
    for side in ("source", "target"):
        done = subprocess.run(["base64", "-d"], input=task[side]["auth"], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == accounts[task[side]["registry"]]


def test_a_shell_loop(page: str, user: User, site: Site) -> None:
    user.write("accounts.yaml", site.here(marked(page, "accounts dregsy")))
    user.write("images.txt", site.here(marked(page, "images.txt")))
    assert shell(user, marked(page, "loop")).code == 0
    migrate(user, site, both("redis", ["8.0.0"]) | both("postgres", ["17.5"]))


def test_trying_it_with_other_targets(page: str, user: User, site: Site) -> None:
    """The two commands of the page, with the files of dregsy."""
    user.write("accounts.yaml", site.here(marked(page, "accounts dregsy")))
    convert(user, site, page, "dregsy.yaml")
    (block,) = [text for language, text in code_blocks(page) if language == "shell" and "try.yaml" in text]
    run = shell(user, site.here(block), site.environ)
    assert run.code == 0, run.output
    assert sorted(site.mirror.tags("try/golang")) == ["1.26.4", "1.27.0"]
    assert site.mirror.tags("mirror/golang") == []


def write_outputs(argv: Sequence[str]) -> None:
    """Write what the program prints into both pages."""
    assert not argv
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sources = stack.enter_context(Site.of_sources(folder))
        site = stack.enter_context(sources.with_mirror(folder / "mirror"))
        for language in LANGUAGES:
            path = page_path("migrating", language)
            (folder / language).mkdir()
            user = User(folder / language / "user")

            def with_rows(found: "re.Match[str]", user: User = user) -> str:
                name, content, flags, _ = found.groups()
                return found[0][: found.start(4) - found.start()] + f"{listed(user, name, content, flags)}```"

            def with_images(found: "re.Match[str]", user: User = user) -> str:
                return found[0][: found.start(3) - found.start()] + f"{explained(user, site, found[1], found[2])}```"

            page = EXPLAIN.sub(with_images, LIST_FROM.sub(with_rows, path.read_text(encoding="utf-8")))
            path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    write_outputs(sys.argv[1:])
