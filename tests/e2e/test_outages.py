"""Registries that are rate limited, dead, silent or stalling: what they cost, and that they never delay the others."""

import http.server
import json
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import Proxy, Registry, Stall, User, free_port, wait_for


def report(user: User) -> Any:
    return json.loads((user.folder / "data" / "report.json").read_text())


@contextmanager
def answering(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A plain HTTP server; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Silent:
    """A server that accepts connections and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                self.connections.append(self._socket.accept()[0])
        except OSError:
            return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    one = Silent()
    yield one
    one.close()


def test_many_images_of_a_dead_registry_cost_a_few_attempts_and_a_few_lines(
    user: User, source: Registry, target: Registry
) -> None:
    digest = source.push("app:1")
    crane, notes = user.noting_crane()
    dead = f"127.0.0.1:{free_port()}"
    user.images(
        *((f"{dead}/app{number}:1", f"{target}/app{number}:1") for number in range(300)),
        (f"{source}/app:1", f"{target}/app:1"),
    )
    run = user.sync(CRANE=crane, RETRIES="2", RETRY_DELAY_TIME="0")
    assert run.code == 1
    assert target.digest("app:1") == digest
    calls = [line for line in notes.read_text().splitlines() if line.startswith("digest ") and dead in line]
    assert len(calls) <= 40  # the look-ups that were sent before the first one failed, and a probe after each pause
    assert len(run.events("image.retry")) <= 3
    assert len(run.events("registry.paused")) == 2
    assert len(run.rows) <= 300 + 20
    # each image has its row and its event, and the summary names the registry once
    rows = report(user)["images"]
    assert len(rows) == len(run.events("image.done")) == 301
    failed = [row for row in rows if row["outcome"] == "failed"]
    assert len(failed) == 300
    for row in failed:
        assert row["error"].startswith("source unreachable: ")
        assert "connection refused" in row["error"]
    summary = [row["message"] for row in run.rows if row["message"].startswith(f"failed at {dead}: ")]
    given_up = [line for line in summary if ": given up: source unreachable: " in line]
    assert len(given_up) == 1
    assert " connect: connection refused (and again after 2 pauses): " in given_up[0]
    assert re.search(rf": {dead}/app\d+:1, {dead}/app\d+:1, {dead}/app\d+:1, and \d+ more$", given_up[0])
    assert sum(int(line.split()[3]) for line in summary) == 300


def test_a_silent_registry_does_not_delay_the_others(user: User, source: Registry, target: Registry, silent: Silent) -> None:
    """64 images of it come first in the file; 10 healthy ones follow."""
    digest = source.push("app:1")
    user.images(
        *((f"{silent.address}/app{number}:1", f"{target}/silent{number}:1") for number in range(64)),
        *((f"{source}/app:1", f"{target}/app{number}:1") for number in range(10)),
    )
    run = user.sync(PROBE_TIMEOUT="2", RETRIES="2", RETRY_DELAY_TIME="0")
    assert run.code == 1
    assert {target.digest(f"app{number}:1") for number in range(10)} == {digest}
    done = run.events("image.done")
    assert [row["outcome"] for row in done[:10]] == ["copied"] * 10  # before the first time limit of the silent one
    assert [row["outcome"] for row in done[10:]] == ["failed"] * 64
    errors = {row["error"] for row in done[10:]}
    limit = "source timed out: no end after 2 seconds (PROBE_TIMEOUT)"
    assert errors <= {limit, f"{limit} (and again after 2 pauses)"}
    # 32 look-ups at once at first, of two connections each (HTTPS and HTTP); then one after each pause: not 64 * 3
    assert len(silent.connections) <= 32 * 2 + 2 * 6
    assert run.events("pass.done")[0]["seconds"] < 60


def test_a_target_that_stalls_uploads_does_not_hold_all_copies(user: User, source: Registry, target: Registry) -> None:
    """24 images for it come first in the file; 10 for a healthy one follow."""
    digest = source.push("app:1")
    stall = Stall(b"PUT /v2/")
    stalling = Proxy(target, stall)
    crane, notes = user.noting_crane()
    user.images(
        *((f"{source}/app:1", f"{stalling}/stalled{number}:1") for number in range(24)),
        *((f"{source}/app:1", f"{target}/app{number}:1") for number in range(10)),
    )
    run = user.sync(CRANE=crane, STALL_TIMEOUT="2", RETRIES="2", RETRY_DELAY_TIME="0")
    stall.release.set()
    assert run.code == 1
    assert {target.digest(f"app{number}:1") for number in range(10)} == {digest}
    done = run.events("image.done")
    assert [row["outcome"] for row in done[:10]] == ["copied"] * 10
    assert [row["outcome"] for row in done[10:]] == ["failed"] * 24
    limit = "copy timed out: no byte read or written for 2 seconds (STALL_TIMEOUT)"
    assert {row["error"] for row in done[10:]} <= {limit, f"{limit} (and again after 2 pauses)"}
    copies = [line for line in notes.read_text().splitlines() if line.startswith("copy ") and str(stalling) in line]
    assert len(copies) <= 4 + 4 + 2  # not 72: three for each image


def test_a_registry_that_answers_5xx_several_times_in_a_row_is_given_up(user: User, target: Registry) -> None:
    requests: list[str] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        requests.append(handler.path)
        handler.send_response(200 if handler.path == "/v2/" else 503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with answering(answer) as address:
        user.images(*((f"{address}/app{number}:1", f"{target}/app{number}:1") for number in range(40)))
        run = user.sync(PROBES="4", RETRIES="1", RETRY_DELAY_TIME="0")
    assert run.code == 1
    assert {row["outcome"] for row in run.events("image.done")} == {"failed"}
    assert run.events("registry.paused")[0]["message"].startswith(f"{address} is unavailable: backing off for ")
    assert len(requests) < 40 * 6  # crane alone sends six per image and attempt


@pytest.mark.parametrize(("header", "least", "most"), [("3", 3, 3), ("0", 1, 1), ("86400", 300, 300), (None, 1, 1.25)])
def test_retry_after_is_honoured(user: User, target: Registry, header: str | None, least: float, most: float) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200 if handler.path == "/v2/" else 429)
        handler.send_header("Content-Length", "0")
        if header is not None:
            handler.send_header("Retry-After", header)
        handler.end_headers()

    with answering(answer) as address:
        user.images((f"{address}/app:1", f"{target}/app:1"))
        with user.running("sync.py", LOG_FORMAT="json", RETRIES="0", RETRY_DELAY_TIME="0", FAST_LOOKUPS="true") as running:
            wait_for(lambda: "registry.paused" in running.output, "it backs off")
            run = running.end(signal.SIGTERM)
    paused = run.events("registry.paused")[0]
    assert least <= paused["seconds"] <= most
    assert paused["error"].startswith("source too many requests: ")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "too many requests"), (403, "denied"), (503, "failed"), (401, "unauthorised")],
)
def test_an_error_over_plain_http_is_not_hidden_by_the_https_attempt(
    user: User, target: Registry, status: int, reason: str
) -> None:
    """crane tries HTTPS first, and names that attempt first."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with answering(answer) as address:
        user.images((f"{address}/app:1", f"{target}/app:1"))
        run = user.sync(RETRY_DELAY_TIME="0")
    error = run.events("image.done")[0]["error"]
    assert error.startswith(f"source {reason}: ")
    assert str(status) in error


def test_a_registry_that_recovers_gets_its_images(user: User, source: Registry, target: Registry, tmp_path: Path) -> None:
    """It refuses connections at first; the pass backs off, and finds it back."""
    digest = source.push("app:1")
    port = free_port()
    user.images(*((f"{source}/app:1", f"127.0.0.1:{port}/app{number}:1") for number in range(20)))
    with user.running("sync.py", LOG_FORMAT="json", RETRIES="6", RETRY_DELAY_TIME="0.5") as running:
        wait_for(lambda: "registry.paused" in running.output, "it backs off")
        with Registry.serve(tmp_path / "late.log", f"127.0.0.1:{port}") as late:
            assert running.process.wait(60) == 0, running.output
            assert {late.digest(f"app{number}:1") for number in range(20)} == {digest}
    assert target.tags("app0") == []
