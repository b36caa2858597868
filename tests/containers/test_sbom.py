"""`make sbom`, of the image of this tree."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from docker import IMAGE, docker
from support import BUNDLE


def make_sbom(image: str = IMAGE) -> subprocess.CompletedProcess[str]:
    """`make sbom`, which builds syft first if that is missing."""
    command = ["make", "-C", str(BUNDLE), "sbom", f"IMAGE={image}"]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)


def packages_of(components: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield kind (of the package URL), name and version of all components, those in other components included."""
    for component in components:
        if purl := component.get("purl"):
            kind = purl.removeprefix("pkg:").partition("/")[0]
            yield kind, component["name"], component["version"]
        yield from packages_of(component.get("components", []))


@pytest.fixture(scope="module")
def packages() -> set[tuple[str, str, str]]:
    """The packages in the SBOM of the image."""
    done = make_sbom()
    assert done.returncode == 0, done.stdout + done.stderr
    sbom = json.loads((BUNDLE / "imageporter.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["name"]) == ("CycloneDX", IMAGE)
    return set(packages_of(sbom["components"]))


def test_it_has_every_pinned_python_package(packages: set[tuple[str, str, str]]) -> None:
    lines = re.findall(r"^([\w.-]+)==(\S+)(.*)", (BUNDLE / "requirements.txt").read_text(), re.MULTILINE)
    pinned = {("pypi", name, version) for name, version, rest in lines if "win32" not in rest}
    assert len(pinned) > 15
    assert pinned <= packages


def test_it_has_both_programs_and_their_modules(packages: set[tuple[str, str, str]]) -> None:
    tools = dict(line.split("@") for line in (BUNDLE / "tools.txt").read_text().split())
    modules = {("golang", path.partition("/cmd/")[0], version) for path, version in tools.items()}
    assert len(modules) == 2
    assert modules <= packages
    for program in ("crane", "supercronic"):  # each names its modules, in plain text
        read = ("docker", "run", "--rm", "--entrypoint", "cat", IMAGE, f"/usr/local/bin/{program}")
        content = subprocess.run(read, capture_output=True, check=True).stdout
        named = re.findall(rb"\ndep\t(\S+)\t(\S+)", content)
        assert len(named) > 10
        assert {("golang", path.decode(), version.decode()) for path, version in named} <= packages
    assert any((kind, name) == ("golang", "stdlib") for kind, name, _ in packages)


def test_it_has_debians_packages(packages: set[tuple[str, str, str]]) -> None:
    listed = docker("run", "--rm", "--entrypoint", "dpkg-query", IMAGE, "-W", "-f", "${Package} ${Version}\\n").stdout
    installed = {("deb", *line.split(" ")) for line in listed.splitlines()}
    assert {"ca-certificates", "libc6", "tzdata"} <= {name for _, name, _ in installed}
    assert installed <= packages


def test_it_has_what_is_inside_wheels(packages: set[tuple[str, str, str]]) -> None:
    printed = docker("run", "--rm", "--entrypoint", "python", IMAGE, "-c", "import pycurl; print(pycurl.version)").stdout
    libcurl = re.findall(r"libcurl/(\S+)", printed)[0]
    assert ("generic", "libcurl", libcurl) in packages
    assert any((kind, name) == ("cargo", "jiter") for kind, name, _ in packages)


def test_an_image_that_is_missing() -> None:
    done = make_sbom("imageporter-missing:latest")
    assert done.returncode == 2
    assert "docker has no image imageporter-missing:latest; run `make image` first" in done.stdout
