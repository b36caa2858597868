"""Parts of notifications and pings that only fail with a broken network."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from imageporter.monitoring import notifications, pings


def test_the_deliveries_that_are_known_before_the_end() -> None:
    output = """{"number": 1, "service": "JSON"}
{"number": 0, "service": "ntfy"}
{"number": 1, "delivered": true, "status": null}
{"number": 2, "service": null}
{"number": 0, "deliv"""
    found = notifications.deliveries(output, 3)
    assert [(one.service, one.delivered) for one in found] == [("ntfy", None), ("JSON", True), (None, None)]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("", []),
        ("*", ["*"]),
        ("a.example, *.b.example,.c.example,10.0.0.0/8", ["a.example", ".b.example", ".c.example", "10.0.0.0/8"]),
    ],
)
def test_no_proxy_means_what_it_means_to_crane(given: str, names: list[str]) -> None:
    assert notifications.no_proxy(given) == ",".join([*names, "localhost", "127.0.0.0/8", "::1"])


def test_a_signal_ends_the_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """libcurl itself waits until its own resolver gives up."""
    released = threading.Event()
    monkeypatch.setattr(pings, "perform", lambda *_: released.wait(60) and "late")
    shutdown: Any = SimpleNamespace(exit_code=0)
    threading.Timer(0.3, lambda: setattr(shutdown, "exit_code", 143)).start()
    began = time.monotonic()
    assert pings.send("http://dead.example/", b"", shutdown) == "no response within 2 seconds"
    assert time.monotonic() - began < 5
    released.set()
