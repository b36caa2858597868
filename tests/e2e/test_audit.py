"""`make audit`: pip-audit and govulncheck run for real, against databases of the test."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support import BUNDLE

DECISION = "GO-2026-6865"  # has a row in docs/security.md
FAILED = "The audit failed. Upgrade a vulnerable package, or add a row with the decision to docs/security.md."


def audit(part: str, env: Mapping[str, str]) -> tuple[int, list[str]]:
    """Run the script of `make audit`; gives the exit code and the lines."""
    command = (sys.executable, str(BUNDLE / "audit" / "audit.py"), part)
    done = subprocess.run(command, env=os.environ | env, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def go_database(folder: Path, identifier: str, module: str, package: str, symbol: str) -> dict[str, str]:
    """Write a database with one vulnerability, which every version has; gives the variable that names it."""
    affected = {
        "package": {"name": module, "ecosystem": "Go"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "99.0.0"}]}],
        "ecosystem_specific": {"imports": [{"path": package, "symbols": [symbol]}]},
    }
    entry = {
        "schema_version": "1.3.1",
        "id": identifier,
        "modified": "2026-01-01T00:00:00Z",
        "aliases": ["CVE-2026-99999"],
        "summary": "Odd commands",
        "affected": [affected],
    }
    (folder / f"{identifier}.json").write_text(json.dumps(entry))
    return {"GOVULNDB": folder.as_uri()}


COBRA = ("github.com/spf13/cobra", "github.com/spf13/cobra", "Command.ExecuteC")  # crane has it, supercronic does not


def test_a_vulnerability_without_a_decision_fails(tmp_path: Path) -> None:
    code, lines = audit("go", go_database(tmp_path, "GO-2026-99999", *COBRA))
    assert re.sub(r"cobra v\S+,", "cobra v1,", lines[0]) == (
        "crane: NO DECISION: GO-2026-99999 CVE-2026-99999: github.com/spf13/cobra v1, fixed in v99.0.0: Odd commands"
    )
    assert (code, lines[1:]) == (1, ["supercronic: no known vulnerability", FAILED])


def test_a_vulnerability_with_a_decision_does_not(tmp_path: Path) -> None:
    code, lines = audit("go", go_database(tmp_path, DECISION, *COBRA))
    assert lines[0].startswith(f"crane: decided: {DECISION} CVE-2026-99999: github.com/spf13/cobra ")
    assert (code, lines[1:]) == (0, ["supercronic: no known vulnerability"])


def test_the_remedy_for_the_standard_library_is_a_newer_go(tmp_path: Path) -> None:
    code, lines = audit("go", go_database(tmp_path, "GO-2026-99999", "stdlib", "net/http", "Client.Do"))
    assert (code, lines[1], lines[3], lines[4]) == (
        1,
        "crane: build it again with a newer Go: rm .tools/crane && make tools",
        "supercronic: build it again with a newer Go: rm .tools/supercronic && make tools",
        FAILED,
    )


def test_a_go_database_that_cannot_be_read_fails(tmp_path: Path) -> None:
    code, lines = audit("go", {"GOVULNDB": (tmp_path / "missing").as_uri()})
    assert (code, lines[-1]) == (1, FAILED)
    for name, line in zip(("crane", "supercronic"), lines, strict=False):
        assert line.startswith(f"{name}: NOT AUDITED: govulncheck failed: ")


@contextmanager
def osv(vulnerable: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Serve OSV's API, with one vulnerability for each package in `vulnerable`; gives the variables that name it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = vulnerable.get(query["package"]["name"])
            body = json.dumps({"vulns": [found]} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": f"http://127.0.0.1:{server.server_port}/v1/query",
        }
        server.shutdown()


def test_a_vulnerable_python_package_fails() -> None:
    affected = {
        "package": {"name": "sh", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "99.0"}]}],
    }
    found = {"id": "PYSEC-2026-99999", "summary": "Odd commands", "details": "", "aliases": ["CVE-2026-99999"]}
    with osv({"sh": found | {"affected": [affected]}}) as env:
        code, lines = audit("python", env)
    version = re.findall(r"^sh==(\S+)", (BUNDLE / "requirements.txt").read_text(), re.MULTILINE)[0]
    line = f"PYSEC-2026-99999 CVE-2026-99999: sh {version}, fixed in 99.0: Odd commands"
    assert (code, lines) == (1, [f"requirements.txt: NO DECISION: {line}", FAILED])


def test_python_packages_without_a_vulnerability() -> None:
    with osv({}) as env:
        assert audit("python", env) == (0, ["requirements.txt: no known vulnerability"])


def test_a_service_that_cannot_be_asked_fails() -> None:
    env = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": "http://127.0.0.1:9/v1/query"}
    code, lines = audit("python", env)
    assert lines[0].startswith("requirements.txt: NOT AUDITED: pip-audit failed: ")
    assert "127.0.0.1" in lines[0]
    assert (code, lines[1:]) == (1, [FAILED])
