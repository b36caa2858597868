"""What the READMEs and the pages show is what the program prints, reads and takes."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import LANGUAGES, marked, page_path, without_comments
from support import BUNDLE, CRANE, PATIENCE, Hook, Proxy, Refuse, Registry, Run, User, free_port

from imageporter.config.accounts_file import load_accounts
from imageporter.config.images_file import load_images
from imageporter.system.errors import Problems

READMES = [BUNDLE / "README.md", BUNDLE / "README.zh-CN.md"]
Page = Callable[[str], str]


@pytest.fixture(params=READMES, ids=lambda path: path.name)
def readme(request: pytest.FixtureRequest) -> str:
    """One README after the other."""
    path = request.param
    assert isinstance(path, Path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(params=LANGUAGES)
def page(request: pytest.FixtureRequest) -> Page:
    """The pages of one language after the other: `page("logs")` is its text."""
    return lambda name: page_path(name, request.param).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def normalised(line: str) -> str:
    """A line without what differs from run to run."""
    for pattern, sign in (
        (r"\d{4}-\d\d-\d\d[ T][\d:.]+(?:\+\d\d:\d\d)?", "TIME"),
        (r"127\.0\.0\.1:\d+", "REGISTRY"),
        (r"sha256:[a-f0-9]+", "DIGEST"),
        (r"\d+\.\d+ s\b", "SECONDS"),
        (r'"seconds": \d+\.\d+', "SECONDS"),
    ):
        line = re.sub(pattern, sign, line)
    return line.rstrip()


def test_the_picture_shows_what_the_demo_prints(user: User) -> None:
    """`make demo-picture` draws it. Its words are those of the demo, with other times, digests and ports."""
    done = subprocess.run(
        [str(BUNDLE / "examples" / "demo.sh"), sys.executable, str(CRANE)],
        capture_output=True,
        text=True,
        check=False,
        env=user.environ({}),
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(user.tmp.iterdir()) == []
    drawn = (BUNDLE / "docs" / "pictures" / "demo.svg").read_text()
    assert "http" not in drawn.replace('xmlns="http://www.w3.org/2000/svg"', "")
    text = " ".join(html.unescape(one).replace("\xa0", " ") for one in re.findall(r"<text [^>]*>(.*?)</text>", drawn))
    printed = " ".join(["make demo", "$ make demo", *map(normalised, done.stdout.strip().splitlines())])
    assert re.sub(r"\s+", "", normalised(text)) == re.sub(r"\s+", "", printed)


def test_a_readme_is_short_and_has_the_picture(readme: str) -> None:
    assert len(readme.splitlines()) <= 150
    assert "](docs/pictures/demo.svg)" in readme


def test_the_example_files_are_read_without_a_mistake(readme: str, page: Page, tmp_path: Path) -> None:
    for text in (readme, page("quick-start")):
        images, accounts = (json.loads(block) for block in blocks(text, "json") if block.startswith("["))
        (tmp_path / "images.json").write_text(json.dumps(images))
        (tmp_path / "accounts.json").write_text(json.dumps(accounts))
        problems = Problems()
        assert len(load_images(tmp_path / "images.json", problems)) == 3
        assert [one.prefix for one in load_accounts(tmp_path / "accounts.json", problems, {})] == [
            "registry.cn-hangzhou.aliyuncs.com",
            "docker.io",
        ]
        assert not problems


def test_the_example_maps_are_read_without_a_mistake(page: Page, tmp_path: Path) -> None:
    files = page("files")
    (tmp_path / "images.yaml").write_text(marked(files, "map"))
    (tmp_path / "auth.yaml").write_text(marked(files, "map-accounts"))
    problems = Problems()
    assert len(load_images(tmp_path / "images.yaml", problems)) == 6
    environ = {"HUB_TOKEN": "a", "MIRROR_PASSWORD": "b"}
    assert len(list(load_accounts(tmp_path / "auth.yaml", problems, environ))) == 3
    (tmp_path / "images.yaml").write_text(marked(files, "options"))
    assert len(load_images(tmp_path / "images.yaml", problems)) == 2
    assert not problems


def test_the_compose_file_is_the_one_that_is_shipped(readme: str, page: Page) -> None:
    shipped = (BUNDLE / "docker-compose.yml").read_text()
    for text in (readme, page("quick-start")):
        assert without_comments(shipped) in [without_comments(block) for block in blocks(text, "yaml")]


def test_the_crontab_line_runs_as_cron_runs_it(page: Page, user: User, source: Registry, target: Registry) -> None:
    """By /bin/sh, with next to no environment, and in another directory."""
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    (line,) = blocks(page("quick-start"), "crontab")
    command = line.strip().split(" ", 5)[5]
    over_queue = next(each for each in blocks(page("webhooks"), "text") if each.startswith("*/10"))
    assert over_queue.strip() == f"*/10 * * * * {command.replace('sync.py', 'sync.py --queue')}"
    command = user.here(command)
    environ = {"HOME": str(user.home), "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    done = subprocess.run(["/bin/sh", "-c", command], cwd="/", env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert target.digest("app:1") == digest
    assert "1 copied" in (user.folder / "sync.log").read_text()


def test_make_sync_works_on_the_current_folder(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    done = subprocess.run(
        ["make", "-f", str(BUNDLE / "Makefile"), "sync"],
        cwd=user.folder,
        env=user.environ({"CRANE": str(CRANE)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.digest("app:1") == digest
    assert (user.folder / "data" / "report.json").exists()


def test_a_clone_whose_path_contains_a_space(user: User, source: Registry, target: Registry, tmp_path: Path) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    clone = tmp_path / "image porter's" / "clone of it"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench")
    shutil.copytree(BUNDLE, clone, ignore=ignored)
    for built in (".venv", ".tools"):
        (clone / built).symlink_to(BUNDLE / built)
    environ = user.environ({"DOCKER_CONFIG": "/nowhere"})
    for folder, command in ((clone, ["make", "demo"]), (user.folder, ["make", "-f", str(clone / "Makefile"), "sync"])):
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert target.digest("app:1") == digest
    assert [path.name for path in user.home.iterdir() if path.name != ".config"] == []  # where Go counts its calls


def test_the_json_lines_are_those_that_are_printed(page: Page, user: User, source: Registry, target: Registry) -> None:
    source.push("app/web:1")
    user.images((f"{source}/app/web:1", f"{target}/mirror/web:1"))
    user.write("accounts.json", [])
    run = user.sync(TZ="Asia/Shanghai")
    assert list(map(normalised, marked(page("logs"), "json").splitlines())) == list(map(normalised, run.output.splitlines()))


def test_the_call_of_the_hook_and_its_answer(page: Page, user: User) -> None:
    user.write("images.json", {"registry.example.com/team/app": "nas.example.com:5000/mirror/app"})
    (call,) = [block for block in blocks(page("webhooks"), "shell") if "/images/sync/hook" in block]
    env = dict(line.split("=") for line in blocks(page("webhooks"), "ini")[0].splitlines())
    with Hook.of(user, **env) as hook:
        script = call.replace("localhost:8080", hook.address)
        output = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    shown = [line for line in output.splitlines() if not line.startswith(("date:", "content-length:"))]
    assert marked(page("webhooks"), "hook").splitlines() == shown


def first_error(run: Run) -> str:
    """The first ERROR line of a text log."""
    return next(line for line in run.lines if line.startswith("ERROR"))


def test_the_errors_are_those_that_are_printed(
    page: Page, user: User, source: Registry, target: Registry, guarded: Registry
) -> None:
    source.push("app:1")
    printed = []

    (user.folder / "images.json").mkdir()
    printed.append(first_error(user.run("sync.py")))
    (user.folder / "images.json").rmdir()

    user.images((f"{source}/app:2", f"{target}/app:2"))
    printed.append(first_error(user.run("sync.py")))

    user.images((f"{source}/app:1", f"{guarded}/app:1"))
    printed.append(first_error(user.run("sync.py", **guarded.environ)))

    busy = Proxy(source, Refuse(1000, body='{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}'))
    user.images((f"{busy}/app:1", f"{target}/app:1"))
    printed.append(first_error(user.run("sync.py")))

    user.images((f"{guarded}/app:1", f"{target}/app:1"))
    printed.append(first_error(user.run("sync.py")))

    off = f"127.0.0.1:{free_port()}"
    user.images((f"{off}/app:1", f"{target}/app:1"))
    printed.append(first_error(user.run("sync.py")))

    # the page names registries where the test has addresses
    names = {str(source): "registry.example.com", str(busy): "registry.example.com", str(target): "nas.example.com"}
    names |= {str(guarded): "guarded.example.com", off: "off.example.com"}
    log = "\n".join(printed)
    for address, name in names.items():
        log = log.replace(f"http://{address}", f"https://{name}").replace(address, name)
    # on loopback crane tries plain HTTP as well, and says so
    log = re.sub(r'; Get "https://off.example.com/v2/": .*', "", log)
    assert marked(page("troubleshooting"), "errors").splitlines() == log.splitlines()
