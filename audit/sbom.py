#!/usr/bin/env python3
"""Write a software bill of materials (SBOM) of an image, in CycloneDX.

syft finds the packages of Debian and Python, and the Go modules in crane and supercronic. It does not look into the
wheels of Python packages, so what pycurl and pydantic-core contain is added from what they say themselves.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BUNDLE = Path(__file__).resolve().parent.parent
SYFT = BUNDLE / ".tools" / "syft"
SBOM = BUNDLE / "imageporter.cdx.json"

# Runs in the image. Prints the libraries in pycurl's wheel, and the SBOMs that other wheels contain.
INSPECT = """
import importlib.metadata, json, pycurl
sboms = {
    wheel.name: json.loads(file.read_text(encoding='utf-8'))
    for wheel in importlib.metadata.distributions()
    for file in wheel.files or ()
    if file.match('*.dist-info/sboms/*.json')
}
print(json.dumps({'pycurl': pycurl.version.split()[1:], 'sboms': sboms}))
"""


def run(*command: str) -> str:
    """Run a command, and return its output."""
    environment = os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false", "SYFT_FILE_METADATA_SELECTION": "none"}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def scan(image: str) -> Any:
    """Return what syft finds in `image`. `docker save` needs no registry."""
    with tempfile.TemporaryDirectory() as directory:
        archive = f"{directory}/image.tar"
        run("docker", "save", "--output", archive, image)
        options = ("--quiet", "--source-name", image, "--output", "cyclonedx-json")
        return json.loads(run(str(SYFT), "scan", f"docker-archive:{archive}", *options))


def inside_wheels(image: str) -> dict[str, list[dict[str, str]]]:
    """Return the components in the wheels of `image`, for each Python package that has some."""
    found = json.loads(run("docker", "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", INSPECT))
    libraries = [library.partition("/") for library in found["pycurl"]]
    inside = {"pycurl": [component(name, version, f"pkg:generic/{name}@{version}") for name, _, version in libraries]}
    for package, sbom in found["sboms"].items():
        inside[package.replace("_", "-")] = [
            component(each["name"], each["version"], each["purl"]) for each in sbom["components"]
        ]
    return inside


def component(name: str, version: str, purl: str) -> dict[str, str]:
    return {"type": "library", "name": name, "version": version, "purl": purl}


def main(argv: Sequence[str]) -> int:
    """Write the SBOM of the image that `argv` names."""
    (image,) = argv
    if subprocess.run(("docker", "image", "inspect", image), stdout=subprocess.DEVNULL, check=False).returncode:
        print(f"docker has no image {image}; run `make image` first")
        return 1
    sbom = scan(image)
    inside = inside_wheels(image)
    for package in sbom["components"]:
        if package.get("purl", "").startswith("pkg:pypi/") and package["name"] in inside:
            package["components"] = inside[package["name"]]
    SBOM.write_text(json.dumps(sbom, indent=2) + "\n")
    print(f"{SBOM.name}: {len(sbom['components'])} components of {image}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
