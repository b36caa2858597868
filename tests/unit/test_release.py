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


def docker(tree: Path, script: str) -> None:
    """Put a docker on PATH that notes how it is called, and then runs `script`: tests/containers has the real one."""
    path = tree.parent / "bin" / "docker"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\necho "docker $*" >>{tree.parent}/calls\n{script}\n')
    path.chmod(0o755)


def run(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, as a user who has a name."""
    names = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {"PATH": f"{folder.parent}/bin:/usr/bin:/bin", "HOME": str(folder.parent)} | names | env
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def tracked() -> list[str]:
    """The files of the repository."""
    return subprocess.check_output(["git", "-C", BUNDLE, "ls-files"], text=True).splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of what a release looks at."""
    tmp_path = tmp_path / "tree"
    tmp_path.mkdir()
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
    assert again.stderr.splitlines()[0] == "CHANGELOG.md: has no text under 'Unreleased'; write what users notice there"


@pytest.mark.parametrize("version", ["1.1", "01.2.3", "1.2.3-rc.1", "v1.2.3", ""])
def test_what_is_not_a_version(tree: Path, version: str) -> None:
    done = run(tree, "release/bump.sh", version)
    assert done.stderr.splitlines()[0] == f"VERSION: '{version}' is not a version; write three numbers, like 1.2.3"
    assert (done.returncode, run(tree, "git", "status", "--porcelain").stdout) == (2, "")


@pytest.mark.parametrize("version", [__version__, "0.9.0"])
def test_a_version_that_is_not_newer(tree: Path, version: str) -> None:
    done = run(tree, "release/bump.sh", version)
    assert done.stderr == f"VERSION: {version} is not newer than {__version__}; take the next version\n"


def test_a_version_without_news_is_refused(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-01-01\n\n- Old.\n")
    done = run(tree, "release/bump.sh", "9.0.0")
    assert done.stderr == "CHANGELOG.md: has no text under 'Unreleased'; write what users notice there\n"


def test_an_interrupted_change_of_the_version_is_completed(tree: Path) -> None:
    (tree / "a b.yml").write_text(
        f"image: imageporter/imageporter:{__version__}\nother: imageporter/imageporter:1.0.0-debian\n"
    )
    run(tree, "git", "add", ".")
    changelog = (tree / "CHANGELOG.md").read_text()
    (tree / "CHANGELOG.md").write_text(changelog.replace("## Unreleased", "## 3.0.0 - 2027-01-01"))
    done = run(tree, "release/bump.sh", "3.0.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        tree / "a b.yml"
    ).read_text() == "image: imageporter/imageporter:3.0.0\nother: imageporter/imageporter:1.0.0-debian\n"
    assert (tree / "CHANGELOG.md").read_text().count("## 3.0.0 - ") == 1


def test_a_release_of_something_else_is_refused_with_every_reason(tree: Path) -> None:
    run(tree, "git", "checkout", "-qb", "other")
    run(tree, "git", "tag", "v9.9.9")
    (tree / "README.md").write_text("changed")
    docker(tree, "exit 1")
    nameless = {"GIT_COMMITTER_NAME": "", "GIT_CONFIG_NOSYSTEM": "1"}
    done = run(tree, "make", "--no-print-directory", "release", "VERSION=9.9.9", **nameless)
    assert done.stderr.splitlines()[:-1] == [
        f"imageporter/__init__.py: the version is {__version__}; run `make bump VERSION=9.9.9`, and commit",
        "CHANGELOG.md: has no section '9.9.9 - DATE'; run `make bump VERSION=9.9.9`, and commit",
        "git: the branch is 'other'; check out main",
        "git: there are changes; commit or remove them",
        "git: the tag v9.9.9 exists; take the next version",
        "git: it does not know who you are; set user.name and user.email",
        "docker: no engine answers; start one, or set DOCKER_HOST",
    ]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ('[ "$1" != run ] || echo "ImagePorter 1"', "docker: the image imageporter/imageporter:2.3.4 says 'ImagePorter 1'"),
        ('[ "$1" != run ]', "docker: the image imageporter/imageporter:2.3.4 does not run"),
        (
            '[ "$1" != run ] || { touch new; echo "ImagePorter 2.3.4"; }',
            "git: the tree has changed since the checks began; run this again",
        ),
    ],
)
def test_an_image_that_is_not_the_release_is_not_tagged(tree: Path, script: str, error: str) -> None:
    docker(tree, script)
    run(tree, "make", "bump", "VERSION=2.3.4")
    run(tree, "git", "commit", "-qam", "2.3.4")
    done = run(tree, "make", "release", "VERSION=2.3.4", CHECKS="")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == error
    assert run(tree, "git", "tag").stdout == ""
    assert "docker tag" not in (tree.parent / "calls").read_text()


def test_a_release_checks_builds_and_tags(tree: Path) -> None:
    docker(tree, '[ "$1" != run ] || echo "ImagePorter 2.3.4"')
    run(tree, "make", "bump", "VERSION=2.3.4")
    run(tree, "git", "commit", "-qam", "2.3.4")
    done = run(tree, "make", "release", "VERSION=2.3.4", CHECKS="help")
    assert (done.returncode, done.stderr) == (0, "")
    image = "imageporter/imageporter"
    assert (tree.parent / "calls").read_text().splitlines() == [
        "docker info",
        f"docker build --build-arg VERSION=2.3.4 --tag {image}:2.3.4 .",
        f"docker run --rm {image}:2.3.4 --version",
        *(f"docker tag {image}:2.3.4 {image}:{tag}" for tag in ("2.3", "2", "latest")),
    ]
    assert run(tree, "git", "tag", "--points-at", "HEAD").stdout == "v2.3.4\n"
    assert f"--tag {image}:2.3.4 --tag {image}:2.3 --tag {image}:2 --tag {image}:latest --push -" in done.stdout
