"""Many images at once: order, widths, single questions, pauses, progress."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import BUNDLE, Proxy, Refuse, Registry, Stall, User, wait_for


def calls(notes: Path) -> list[str]:
    return [line for line in notes.read_text().splitlines() if not line.startswith("version")]


def test_one_at_a_time_is_the_files_order(user: User, source: Registry, target: Registry) -> None:
    """Also where an image is tried again, and where a source comes twice."""
    digests = {name: source.push(f"{name}:1", name) for name in ("one", "two", "three")}
    crane, notes = user.noting_crane()
    rows = [("one:1", "one:1"), ("two:1", "two:1"), ("one:1", "again:1"), ("gone:1", "gone:1"), ("three:1", "three:1")]
    user.images(*((f"{source}/{left}", f"{target}/{right}") for left, right in rows))
    run = user.sync(CRANE=crane, JOBS="1", PROBES="1", FAST_LOOKUPS="false")
    assert run.code == 1
    expected: list[str] = []
    for left, right in rows:
        name = left.partition(":")[0]
        if right != "again:1":
            expected += [f"digest {source}/{left}"]
        if name in digests:
            copy = f"copy {source}/{name}@{digests[name]} {target}/{right}"
            expected += [f"digest {target}/{right}", copy, f"digest {target}/{right}"]
    assert calls(notes) == expected
    assert [row["target"] for row in run.events("image.done")] == [f"{target}/{right}" for _, right in rows]


def test_a_retry_keeps_its_place_where_one_works_at_a_time(user: User, source: Registry, target: Registry) -> None:
    for name in ("one", "two"):
        source.push(f"{name}:1", name)
    refuse = Refuse(1, "418 I'm a teapot")
    user.images((f"{Proxy(source, refuse)}/one:1", f"{target}/one:1"), (f"{source}/two:1", f"{target}/two:1"))
    run = user.sync(JOBS="1", PROBES="1", RETRIES="1", RETRY_DELAY_TIME="0.2")
    assert run.code == 0, run.output
    assert [row["target"] for row in run.events("image.done")] == [f"{target}/one:1", f"{target}/two:1"]


def test_never_more_than_probes_and_jobs(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    source.push("other:1", "other")
    beats = user.home / "beats"
    # Each call says that it begins and that it ends; it lasts a moment, so that they overlap.
    crane = user.crane_wrapper(f"""
[ "$1" = version ] && exit 0
echo "+$1" >>{beats}; "$CRANE" "$@"; code=$?; sleep 0.05; echo "-$1" >>{beats}; exit $code""")
    names = ("app:1", "other:1")
    user.images(*((f"{source}/{names[number % 2]}", f"{target}/image{number}:1") for number in range(24)))
    assert user.sync(CRANE=crane, PROBES="3", JOBS="2", FAST_LOOKUPS="false").code == 0
    now = {"digest": 0, "copy": 0}
    most = {"digest": 0, "copy": 0, "both": 0}
    for beat in beats.read_text().splitlines():
        now[beat[1:]] += 1 if beat[0] == "+" else -1
        most = {name: max(most[name], sum(now.values()) if name == "both" else now[name]) for name in most}
    assert most["copy"] == 2
    assert most["both"] <= 3 + 2
    assert most["digest"] > 1


def test_copies_start_while_probing_goes_on(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    source.push("late:1", "late")
    stall = Stall(b"/manifests/")
    user.images((f"{source}/app:1", f"{target}/app:1"), (f"{Proxy(source, stall)}/late:1", f"{target}/late:1"))
    with user.running("sync.py", LOG_FORMAT="json") as running:
        wait_for(stall.holding.is_set, "the second source is asked")
        wait_for(lambda: target.digest("app:1") == digest, "the first image is copied meanwhile")
        assert running.process.poll() is None
        stall.release.set()
        assert running.process.wait(60) == 0


def requests_for_manifests(registry: Registry) -> tuple[Proxy, list[str]]:
    """A proxy in front of `registry`, and the requests for manifests that it has seen: `HEAD /v2/app/manifests/1`."""
    seen: list[str] = []

    def note(request: bytes) -> None:
        line = request.split(b" HTTP/", 1)[0].decode(errors="replace")
        if "/manifests/" in line:
            seen.append(line)

    return Proxy(registry, note), seen


def test_a_source_is_looked_up_once_and_a_digest_never(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    proxy, seen = requests_for_manifests(source)
    targets = [f"{target}/{name}:1" for name in ("a1", "b1", "c1")]
    user.images((f"{proxy}/app:1", targets), (f"{proxy}/app@{digest}", f"{target}/fixed:1"))
    assert user.sync().code == 0
    assert seen.count("HEAD /v2/app/manifests/1") == 1
    assert f"HEAD /v2/app/manifests/{digest}" not in seen
    assert {target.digest(f"{name}:1") for name in ("a1", "b1", "c1", "fixed")} == {digest}


def test_an_unchanged_image_costs_two_requests(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync().code == 0
    (left, asked_left), (right, asked_right) = requests_for_manifests(source), requests_for_manifests(target)
    user.images((f"{left}/app:1", f"{right}/app:1"))
    run = user.sync()
    assert run.outcomes == {f"{right}/app:1": "skipped"}
    assert asked_left == asked_right == ["HEAD /v2/app/manifests/1"]


def test_a_source_that_fails_fails_for_each_of_its_targets(user: User, source: Registry, target: Registry) -> None:
    user.images((f"{source}/gone:1", [f"{target}/a1:1", f"{target}/b1:1"]))
    run = user.sync(RETRIES="1")
    assert (run.code, run.outcomes) == (1, {f"{target}/a1:1": "failed", f"{target}/b1:1": "failed"})
    assert len({row["error"] for row in run.events("image.done")}) == 1


def test_a_busy_registry_is_left_alone_and_the_rest_goes_on(user: User, source: Registry, target: Registry) -> None:
    """And its images are tried again when it answers, though RETRIES is 0."""
    names = [f"image{number}:1" for number in range(10)]
    digests = {name: source.push(name, name) for name in names}
    source.push("free:1", "free")
    released = threading.Event()
    asked: list[float] = []

    def meddle(request: bytes) -> bytes | None:
        if b"/manifests/" not in request or released.is_set():
            return None
        asked.append(time.monotonic())
        return b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    proxy = Proxy(source, meddle)
    user.images(*((f"{proxy}/{name}", f"{target}/{name}") for name in names), (f"{source}/free:1", f"{target}/free:1"))
    with user.running("sync.py", LOG_FORMAT="json", PROBES="4", RETRY_DELAY_TIME="2", RETRIES="0") as running:
        wait_for(lambda: "registry.paused" in running.output, "the registry is paused")
        wait_for(lambda: f"{target}/free:1" in running.output, "the other image is done meanwhile")
        # the look-ups that were sent before the pause have ended: crane's tries add up to six requests each
        wait_for(lambda: len(asked) >= 4, "it has refused all four look-ups")
        released.set()
        assert running.process.wait(60) == 0, running.output
    assert {name: target.digest(name) for name in names} == digests
    assert len(asked) <= 4 * 6


def test_a_registry_that_stays_busy_gets_longer_pauses_and_is_given_up(user: User, source: Registry, target: Registry) -> None:
    for number in range(6):
        source.push(f"image{number}:1", f"{number}")
    requests = Refuse(10_000)
    proxy = Proxy(source, requests)
    user.images(*((f"{proxy}/image{number}:1", f"{target}/image{number}:1") for number in range(6)))
    run = user.sync(PROBES="2", RETRIES="2", RETRY_DELAY_TIME="0")
    assert run.code == 1
    first, second = (row["seconds"] for row in run.events("registry.paused"))
    assert 1 <= first <= 1.25
    assert 2 <= second <= 2 * 1.25 * 1.25
    assert [row["error"].rpartition(" (")[2] for row in run.events("image.done")] == ["and again after 2 pauses)"] * 6
    # two look-ups at first, one after each pause, of at most six requests: not one for each image
    assert 10_000 - requests.left <= 4 * 6


def on_a_terminal(user: User, **env: str) -> tuple[subprocess.Popen[bytes], int]:
    master, slave = pty.openpty()
    environ = user.environ({"TERM": "xterm", "NO_COLOR": "1", **env})
    process = subprocess.Popen(
        [sys.executable, str(BUNDLE / "sync.py")], cwd=user.folder, env=environ, stdout=slave, stderr=slave, stdin=slave
    )
    os.close(slave)
    return process, master


def terminal_output(master: int, seen: bytearray) -> str:
    """What the terminal has shown so far."""
    while select.select([master], [], [], 0.02)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        seen += data
    return seen.decode()


def test_a_terminal_shows_a_live_line(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    source.push("gone-soon:1", "other")
    stall = Stall()
    proxy = Proxy(target, stall)
    user.images((f"{source}/app:1", f"{proxy}/app:1"), (f"{source}/missing:1", f"{target}/missing:1"))
    process, master = on_a_terminal(user)
    seen = bytearray()
    try:
        live = f"\r\x1b[K1/2 done, 0 copied, 1 failed | {source}/app:1"[:60]
        wait_for(lambda: live in terminal_output(master, seen), "the live line")
        stall.release.set()
        wait_for(lambda: "pass done" in terminal_output(master, seen), "the end")
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
    shown = terminal_output(master, seen)
    os.close(master)
    # the live line goes away for each line of the log, and at the end for good
    assert re.search(r"\r\x1b\[K[-0-9]+ [:0-9]+ INFO    copied ", shown)
    assert re.search(r"\r\x1b\[K[-0-9]+ [:0-9]+ WARNING pass done", shown)
    assert max(len(line.rpartition("\x1b[K")[2]) for line in re.findall(r"\x1b\[K\d+/\d+ done[^\r\n]*", shown)) < 80


@pytest.mark.parametrize("env", [{"LOG_LEVEL": "WARNING"}, {"LOG_FORMAT": "json"}, {"TERM": "dumb"}])
def test_no_live_line_where_it_would_disturb(user: User, source: Registry, target: Registry, env: dict[str, str]) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    process, master = on_a_terminal(user, SLEEP_TIME="1", **env)
    seen = bytearray()
    wait_for(lambda: terminal_output(master, seen) is not None and process.poll() is not None, "the end")
    shown = terminal_output(master, seen)
    os.close(master)
    assert process.returncode == 0, shown
    assert "\x1b[K" not in shown


def test_the_log_tells_the_progress_of_a_long_pass(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    stall = Stall()
    user.images((f"{source}/app:1", f"{Proxy(target, stall)}/app:1"), (f"{source}/gone:1", f"{target}/gone:1"))
    with user.running("sync.py", LOG_FORMAT="json") as running:
        wait_for(lambda: "pass.progress" in running.output, "a line after 30 seconds")
        run = running.end(signal.SIGTERM)
    row = run.events("pass.progress")[0]
    assert row["message"] == "1 of 2 images done, 0 copied, 1 failed, 1 being copied"
    assert (row["images"], row["done"], row["copied"], row["failed"], row["copying"]) == (2, 1, 0, 1, 1)
