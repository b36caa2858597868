"""Pings: a dead man's switch hears of each pass, also of one that could not start."""

import fcntl
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from receivers import Receiver
from support import Proxy, Registry, Stall, User, wait_for

from imageporter import __version__

SECRET = "uuid-of-the-check"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver.serve() as one:
        yield one


def pings(receiver: Receiver) -> list[tuple[str, str]]:
    return [(one.method, one.path) for one in receiver.take()]


def test_healthchecks(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    env = {"PING_URL": f"http://{receiver.address}/{SECRET}?rid=1"}
    run = user.sync(LOG_LEVEL="DEBUG", **env)
    assert SECRET not in run.output
    start, end = receiver.take()
    assert (start.method, start.path, start.body) == ("POST", f"/{SECRET}/start?rid=1", "")
    assert start.headers["User-Agent"] == f"imageporter/{__version__}"
    assert (end.method, end.path) == ("POST", f"/{SECRET}/0?rid=1")
    assert end.body.splitlines()[0] == f"ImagePorter on {socket.gethostname()}: the image is up to date, 1 copied"
    user.images((f"{source}/gone:1", f"{target}/gone:1"))
    assert user.sync(**env).code == 1
    assert [path for _, path in pings(receiver)] == [f"/{SECRET}/start?rid=1", f"/{SECRET}/1?rid=1"]
    assert user.sync(DRY_RUN="true", **env).code == 1
    assert user.sync("--queue", **env).code == 0
    assert pings(receiver) == [], "neither is a pass that keeps the targets equal"


def test_uptime_kuma(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    source.push("app:1")
    env = {"PING_URL": f"http://{receiver.address}/api/push/{SECRET}?status={{status}}&msg=OK"}
    for name, code, status in (("app", 0, "up"), ("gone", 1, "down")):
        user.images((f"{source}/{name}:1", f"{target}/{name}:1"))
        assert user.sync(**env).code == code
        assert pings(receiver) == [("GET", f"/api/push/{SECRET}?status={status}&msg=OK")]


@pytest.mark.parametrize("script", ["sync.py", "entrypoint.py"])
def test_invalid_settings(user: User, receiver: Receiver, script: str) -> None:
    run = user.run(script, PING_URL=f"http://{receiver.address}/{SECRET}", JOBS="0")
    assert run.code == 2
    (ping,) = receiver.take()
    assert ping.path == f"/{SECRET}/2"
    assert "- JOBS: '0' is not a whole number from 1 to 256" in ping.body


def test_a_lock_that_is_held(user: User, receiver: Receiver) -> None:
    user.write("images.json", [])
    (user.folder / "data").mkdir()
    with open(user.folder / "data" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert user.run("sync.py", PING_URL=f"http://{receiver.address}/{SECRET}").code == 75
    (ping,) = receiver.take()
    assert ping.path == f"/{SECRET}/75"
    assert ping.body.splitlines()[0] == f"ImagePorter on {socket.gethostname()}: another pass is still running"


def test_a_check_that_refuses_is_tried_twice(user: User, receiver: Receiver) -> None:
    user.write("images.json", [])
    receiver.status = 500
    run = user.sync(PING_URL=f"http://{receiver.address}/{SECRET}")
    assert run.code == 0
    assert [path for _, path in pings(receiver)] == [f"/{SECRET}/start"] * 2 + [f"/{SECRET}/0"] * 2
    warnings = [row["message"] for row in run.rows if row["level"] == "WARNING"]
    assert warnings[1:] == ["PING_URL: 127.0.0.1 could not be pinged: status code 500"] * 2
    assert SECRET not in run.output


def test_the_pass_does_not_wait_for_the_ping_of_its_start(
    user: User, source: Registry, target: Registry, receiver: Receiver
) -> None:
    """And a signal shortens what is left of it: the container has ten seconds to stop."""
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    receiver.stalled = threading.Event()
    with user.running("sync.py", PING_URL=f"http://{receiver.address}/{SECRET}") as running:
        wait_for(lambda: "1 copied" in running.output, "the pass")
        began = time.monotonic()
        run = running.end(signal.SIGTERM)
        assert time.monotonic() - began < 9
    assert run.code == 0, "the pass was done"


def test_an_interrupted_pass(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    source.push("app:1")
    stall = Stall()
    proxy = Proxy(target, stall)
    user.images((f"{source}/app:1", f"{proxy}/app:1"))
    with user.running("sync.py", PING_URL=f"http://{receiver.address}/{SECRET}") as running:
        stall.holding.wait(60)
        run = running.end(signal.SIGTERM)
    stall.release.set()
    assert run.code == 143
    assert [path for _, path in pings(receiver)] == [f"/{SECRET}/start", f"/{SECRET}/143"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://x/y", "is not the URL of a check; write one like https://hc-ping.com/..."),
        ("http://[::1/y", "is not the URL of a check; write one like https://hc-ping.com/..."),
        ("https://x/y z", "is not the URL of a check; write one like https://hc-ping.com/..."),
        (
            "https://h\u00f6st.example/x",
            "has letters that are not ASCII; write a host as xn--..., and other letters as %C3%B6",
        ),
        ("https://x/push?status={state}", "has braces that are not {status}; write {status}, or leave them out"),
    ],
)
def test_urls_that_are_none(user: User, url: str, problem: str) -> None:
    user.write("images.json", [])
    run = user.run("sync.py", PING_URL=url)
    assert (run.code, run.lines[-1]) == (2, f"ERROR PING_URL: {problem}")


def test_nobody_there(user: User) -> None:
    user.write("images.json", [])
    run = user.run("sync.py", PING_URL="http://127.0.0.1:1/x")
    assert (run.code, run.lines[-1]) == (
        0,
        "WARNING PING_URL: 127.0.0.1 could not be pinged: connection refused, or no way there",
    )
