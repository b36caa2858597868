"""One place holds the version: everything that names it names the same, and a release of anything else is refused."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import BUNDLE

from imageporter import __version__

PINNED = re.compile(r"imageporter/imageporter:([\w.-]+)")
NAMES_NO_VERSION = {
    "CHANGELOG.md",
    "release/bump.sh",
    "release/release.sh",
    "Makefile",
    "docs/releases.md",
    "docs/zh/releases.md",
}


def run(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, as a user who has a name."""
    names = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder)} | names | env
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def tracked() -> list[str]:
    """The files of the repository."""
    return subprocess.check_output(["git", "-C", BUNDLE, "ls-files"], text=True).splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of what a release looks at."""
    for name in (
        "imageporter/__init__.py",
        "docker-compose.yml",
        "README.md",
        "Makefile",
        "release/bump.sh",
        "release/release.sh",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(BUNDLE / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- News.\n")
    for command in (("git", "init", "-q", "-b", "main"), ("git", "add", "."), ("git", "commit", "-qm", "first")):
        assert run(tmp_path, *command).returncode == 0
    return tmp_path


def test_every_file_that_names_the_image_names_this_version() -> None:
    found = {
        name: set(PINNED.findall((BUNDLE / name).read_text(errors="ignore")))
        for name in tracked()
        if not name.startswith("tests/") and name not in NAMES_NO_VERSION
    }
    assert {name: versions for name, versions in found.items() if versions - {__version__, "TAG"}} == {}
    assert found["docker-compose.yml"]
    assert found["README.md"]


def test_the_changelog_has_this_version() -> None:
    assert re.search(
        rf"^## {re.escape(__version__)} - \d{{4}}-\d\d-\d\d$", (BUNDLE / "CHANGELOG.md").read_text(), re.MULTILINE
    )


def test_a_new_version_is_written_everywhere(tree: Path) -> None:
    done = run(tree, "make", "--no-print-directory", "bump", "VERSION=1.99.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert run(tree, "sed", "-n", "s/^__version__ = //p", "imageporter/__init__.py").stdout.startswith('"1.99.2"')
    for name in ("docker-compose.yml", "README.md"):
        assert set(PINNED.findall((tree / name).read_text())) == {"1.99.2"}
    assert re.search(r"^## 1\.99\.2 - \d{4}-\d\d-\d\d\n\n- News\.", (tree / "CHANGELOG.md").read_text(), re.MULTILINE)
    again = run(tree, "make", "--no-print-directory", "bump", "VERSION=2.0.0")
    assert again.stderr.splitlines()[0] == "CHANGELOG.md: has no section 'Unreleased'; write what users notice into one"


def test_what_is_not_a_version(tree: Path) -> None:
    done = run(tree, "make", "--no-print-directory", "bump", "VERSION=1.1")
    assert done.stderr.splitlines()[0] == "VERSION: '1.1' is not a version; write three numbers, like 1.2.3"
    assert run(tree, "git", "status", "--porcelain").stdout == ""


def test_a_release_of_something_else_is_refused_with_every_reason(tree: Path) -> None:
    run(tree, "git", "checkout", "-qb", "other")
    run(tree, "git", "tag", "v9.9.9")
    (tree / "README.md").write_text("changed")
    done = run(tree, "make", "--no-print-directory", "release", "VERSION=9.9.9")
    assert done.stderr.splitlines()[:-1] == [
        f"imageporter/__init__.py: the version is {__version__}; run `make bump VERSION=9.9.9`, and commit",
        "CHANGELOG.md: has no section '9.9.9 - DATE'; run `make bump VERSION=9.9.9`, and commit",
        "git: the branch is 'other'; check out main",
        "git: there are changes; commit or remove them",
        "git: the tag v9.9.9 exists; take the next version",
    ]


def test_a_release_checks_builds_and_tags(tree: Path) -> None:
    """With a docker that only notes how it was called: tests/containers has the real one."""
    docker = tree.parent / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "docker $*" >>{tree.parent}/calls\n[ "$1" != run ] || echo "ImagePorter 2.3.4"\n')
    docker.chmod(0o755)
    run(tree, "make", "bump", "VERSION=2.3.4")
    run(tree, "git", "commit", "-qam", "2.3.4")
    done = run(tree, "make", "release", "VERSION=2.3.4", CHECKS="help", PATH=f"{docker.parent}:/usr/bin:/bin")
    assert (done.returncode, done.stderr) == (0, "")
    image = "imageporter/imageporter"
    assert (tree.parent / "calls").read_text().splitlines() == [
        f"docker build --build-arg VERSION=2.3.4 --tag {image}:2.3.4 .",
        f"docker run --rm {image}:2.3.4 --version",
        *(f"docker tag {image}:2.3.4 {image}:{tag}" for tag in ("2.3", "2", "latest")),
    ]
    assert run(tree, "git", "tag", "--points-at", "HEAD").stdout == "v2.3.4\n"
    assert f"--tag {image}:2.3.4 --tag {image}:2.3 --tag {image}:2 --tag {image}:latest --push ." in done.stdout
