#!/usr/bin/env python3
"""Print the known vulnerabilities of what ImagePorter ships.

Exits with 1 if a vulnerability has no row in docs/security.md, or if a database does not answer.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

BUNDLE = Path(__file__).resolve().parent.parent
TOOLS = BUNDLE / ".tools"
REQUIREMENTS = BUNDLE / "requirements.txt"
DECISIONS = BUNDLE / "docs" / "security.md"
IDENTIFIER = r"\b(?:CVE|GHSA|GO|PYSEC)-[\w-]+"
GO_DATABASE = "https://vuln.go.dev"
GO_DATABASE_MODULE = "golang.org/x/vulndb@latest"  # no pin: an audit is as good as its database is new


class AuditError(Exception):
    """A part could not be audited."""


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of one version of a package."""

    identifiers: tuple[str, ...]
    package: str
    version: str
    fixed_in: str
    summary: str

    def __str__(self) -> str:
        fix = f"fixed in {self.fixed_in}" if self.fixed_in else "not fixed"
        return f"{' '.join(self.identifiers)}: {self.package} {self.version}, {fix}: {self.summary}"


def decided() -> set[str]:
    """Return the identifiers in the tables of docs/security.md: each row is a decision."""
    rows = (line for line in DECISIONS.read_text().splitlines() if line.startswith("|"))
    return {identifier for row in rows for identifier in re.findall(IDENTIFIER, row)}


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "no output"


def audit_packages() -> list[Finding]:
    """Ask pip-audit about requirements.txt. PIP_AUDIT_VULNERABILITY_SERVICE and PIP_AUDIT_OSV_URL select the service."""
    options = ("--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off")
    command = (sys.executable, "-m", "pip_audit", "--requirement", str(REQUIREMENTS), *options)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        raise AuditError(f"pip-audit failed: {last_line(done.stderr)}") from None
    # pip-audit exits with 0 even if the service knows none of the packages.
    if skipped := [package["skip_reason"] for package in packages if "skip_reason" in package]:
        raise AuditError(
            f"the vulnerability service gives no answer about {len(skipped)} of {len(packages)} packages ({skipped[0]})"
        )
    return [
        Finding(
            identifiers=(found["id"], *found["aliases"]),
            package=package["name"],
            version=package["version"],
            fixed_in=" or ".join(found["fix_versions"]),
            summary=found["description"].partition("\n")[0],
        )
        for package in packages
        for found in package["vulns"]
    ]


@cache
def go_database() -> str:
    """Return the URL of Go's vulnerability database: GOVULNDB, the online one, or its Go module if that does not answer."""
    if chosen := os.environ.get("GOVULNDB"):
        return chosen
    try:
        with urlopen(f"{GO_DATABASE}/index/db.json", timeout=10):
            return GO_DATABASE
    except OSError as error:
        print(f"{GO_DATABASE} does not answer ({error}); using the Go module {GO_DATABASE_MODULE}")
    command = (os.environ.get("GO", "go"), "mod", "download", "-json", GO_DATABASE_MODULE)
    done = subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True, check=False)
    module = json.loads(done.stdout or "{}")
    if "Dir" not in module:
        raise AuditError(f"Go's vulnerability database cannot be had: {module.get('Error', last_line(done.stderr))}")
    print(f"its newest version is {module['Version']}")
    # The folder has one OSV file a vulnerability. govulncheck indexes them itself.
    return (Path(module["Dir"]) / "data" / "osv").as_uri()


def messages(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of `text`, which has nothing between them but white space."""
    decoder, position = json.JSONDecoder(), 0
    while match := re.compile(r"\S").search(text, position):
        message, position = decoder.raw_decode(text, match.start())
        yield message


def audit_program(name: str) -> list[Finding]:
    """Ask govulncheck about a program in .tools.

    A vulnerable function counts if it is in the program. Without symbols (`-ldflags=-s`), govulncheck takes all functions
    of a linked package for present.
    """
    command = (str(TOOLS / "govulncheck"), "-mode=binary", "-format=json", f"-db={go_database()}", str(TOOLS / name))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AuditError(f"govulncheck failed: {last_line(done.stderr)}")
    entries: dict[str, Any] = {}
    findings: dict[str, Finding] = {}
    for message in messages(done.stdout):
        if entry := message.get("osv"):
            entries[entry["id"]] = entry
        elif (finding := message.get("finding")) and "function" in (frame := finding["trace"][0]):
            entry = entries[finding["osv"]]
            findings[entry["id"]] = Finding(
                identifiers=(entry["id"], *entry.get("aliases", ())),
                package=frame["module"],
                version=frame["version"],
                fixed_in=finding.get("fixed_version", ""),
                summary=entry.get("summary", ""),
            )
    return [findings[identifier] for identifier in sorted(findings)]


PARTS: dict[str, dict[str, Callable[[], list[Finding]]]] = {
    "python": {REQUIREMENTS.name: audit_packages},
    "go": {name: partial(audit_program, name) for name in ("crane", "supercronic")},
}


def main(argv: Sequence[str]) -> int:
    """Audit the parts that `argv` names (`python`, `go`), or all."""
    decisions = decided()
    failures = 0
    for part in argv or PARTS:
        for name, audit in PARTS[part].items():
            try:
                findings = audit()
            except AuditError as error:
                print(f"{name}: NOT AUDITED: {error}")
                failures += 1
                continue
            if not findings:
                print(f"{name}: no known vulnerability")
            for finding in findings:
                is_decided = not decisions.isdisjoint(finding.identifiers)
                print(f"{name}: {'decided' if is_decided else 'NO DECISION'}: {finding}")
                failures += not is_decided
            if any(finding.package == "stdlib" for finding in findings):
                print(f"{name}: build it again with a newer Go: rm .tools/{name} && make tools")
    if failures:
        print("The audit failed. Upgrade a vulnerable package, or add a row with the decision to docs/security.md.")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
