"""Shards: processes that share the images and the queue, and one report of all."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from typing import Any

import pytest
from receivers import Receiver
from support import BUNDLE, Hook, Proxy, Registry, Stall, User, wait_for

from imageporter.model.reference import parse
from imageporter.model.shard import Shard

NAMES = tuple(f"app-{number}" for number in range(12))


@pytest.fixture
def mirror(user: User, source: Registry, target: Registry) -> User:
    """A user with an image in each of twelve repositories."""
    for name in NAMES:
        source.push(f"{name}:1", name)
    user.images(*((f"{source}/{name}:1", f"{target}/{name}:1") for name in NAMES))
    return user


def run_at_once(user: User, count: int, **env: str) -> list[dict[str, str]]:
    """Run all shards at the same time; gives the outcomes of each."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(BUNDLE / "sync.py")],
            cwd=user.folder,
            env=user.environ({"SLEEP_TIME": "0", "LOG_FORMAT": "json", "SHARD": f"{number}/{count}"} | env),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, count + 1)
    ]
    found = []
    for process in processes:
        output, _ = process.communicate(timeout=120)
        rows = [json.loads(line) for line in output.splitlines()]
        found.append({row["target"]: row["outcome"] for row in rows if row.get("event") == "image.done"})
    return found


def report(user: User, folder: str = "data") -> Any:
    return json.loads((user.folder / folder / "report.json").read_text())


def merged(user: User, *folders: str, **env: str) -> tuple[int, list[str]]:
    """Merge the reports; gives the exit code and the log."""
    run = user.run("sync.py", "--merge-reports", *folders, **env)
    return run.code, run.lines


def test_three_shards_are_one_pass(mirror: User, source: Registry, target: Registry) -> None:
    outcomes = run_at_once(mirror, 3)
    assert Counter(name for shard in outcomes for name in shard) == Counter(f"{target}/{name}:1" for name in NAMES)
    assert all(outcomes)
    assert [target.digest(f"{name}:1") for name in NAMES] == [source.digest(f"{name}:1") for name in NAMES]
    data = mirror.folder / "data"
    names = ["queue.lock", *(f"shard-{number}-of-3" for number in (1, 2, 3)), "shards-3.lock"]
    assert sorted(path.name for path in data.iterdir()) == names
    assert report(mirror, "data/shard-2-of-3")["shard"] == "2/3"
    assert sorted(path.name for path in (data / "shard-2-of-3").iterdir()) == [
        "lock",
        "queue.lock",
        "records.db",
        "report.json",
    ]
    again = run_at_once(mirror, 3)
    assert {outcome for shard in again for outcome in shard.values()} == {"skipped"}

    with Receiver.serve() as receiver:
        env = {
            "NOTIFY_URLS": f"json://{receiver.address}/",
            "NOTIFY_ON": "always",
            "PING_URL": f"http://{receiver.address}/check",
        }
        run_at_once(mirror, 3, **env)
        assert receiver.take() == [], "one speaks for all"
        assert merged(mirror, "data", **env) == (
            0,
            ["INFO all shards done: 0 copied, 12 skipped, 0 failed", "INFO notified by JSON"],
        )
        message, ping = receiver.take()
    assert message.json["title"].endswith(": all 12 images are up to date")
    assert ping.path == "/check/0"
    whole = report(mirror)
    assert (whole["skipped"], len(whole["images"]), whole["exit_code"]) == (12, 12, 0)
    assert whole["last_success"] == whole["finished"]


def test_the_merged_report_says_what_failed_and_what_is_missing(mirror: User, source: Registry, target: Registry) -> None:
    # The target's port is part of the name that decides the shard: take names of which the second shard has one.
    of_second = (name for name in map("gone-{}".format, count()) if Shard(2, 2).has(parse(f"{target}/{name}:1")))
    mirror.images(*((f"{source}/{name}:1", f"{target}/{name}:1") for name in (*NAMES, next(of_second))))
    run_at_once(mirror, 2)
    code, lines = merged(mirror, "data")
    assert (code, lines) == (1, ["WARNING all shards done: 12 copied, 0 skipped, 1 failed"])
    assert report(mirror)["failing_since"] == report(mirror)["started"]

    # a shard that has not run again: its report is the one of the last merge
    time.sleep(1)  # reports have whole seconds
    assert mirror.sync(SHARD="1/2").code in {0, 1}
    code, lines = merged(mirror, "data")
    missing = "shard 2/2 has not run since the last merge"
    assert (code, lines[-1], report(mirror)["missing"]) == (1, f"ERROR {missing}", [missing])

    (mirror.folder / "data" / "shard-1-of-2" / "report.json").unlink()
    code, lines = merged(mirror, "data")
    assert (code, lines[-2]) == (1, "ERROR shard 1/2 has no report")


def test_shards_on_machines_of_their_own(mirror: User) -> None:
    for number in (1, 2):
        assert mirror.sync(SHARD=f"{number}/2", DATA_DIR=f"machine-{number}").code == 0
    code, lines = merged(mirror, "machine-1/shard-1-of-2")
    assert (code, lines[-1]) == (1, "ERROR shard 2/2 has no report")
    (mirror.folder / "data" / "report.json").unlink()
    twice = ("machine-1", "machine-2", str(mirror.folder / "machine-2" / "shard-2-of-2"))
    assert merged(mirror, *twice)[0] == 0
    assert len(report(mirror)["images"]) == len(NAMES)


def test_nothing_to_merge_is_told(mirror: User) -> None:
    """A volume that is lost must not look like the last good pass."""
    assert mirror.sync().code == 0
    with Receiver.serve() as receiver:
        code, lines = merged(mirror, "data", "nowhere", NOTIFY_URLS=f"json://{receiver.address}/")
        (message,) = receiver.take()
    assert (code, lines[-1]) == (2, "ERROR --merge-reports: there is no report of a shard in data, nowhere")
    assert message.json["title"].endswith(": could not start")
    assert report(mirror)["exit_code"] == 2


def test_a_shard_that_could_not_start_does_not_hide_the_failures_of_others(
    mirror: User, source: Registry, target: Registry
) -> None:
    # The target's port is part of the name that decides the shard: take names of which the second shard has one.
    of_second = (name for name in map("gone-{}".format, count()) if Shard(2, 2).has(parse(f"{target}/{name}:1")))
    mirror.images(*((f"{source}/{name}:1", f"{target}/{name}:1") for name in (*NAMES, next(of_second))))
    run_at_once(mirror, 2)
    path = mirror.folder / "data" / "shard-1-of-2" / "report.json"
    for code, expected in ((75, 1), (143, 1), (2, 2)):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"exit_code": code, "images": [], "failed": 0}))
        (mirror.folder / "data" / "report.json").unlink(missing_ok=True)
        assert merged(mirror, "data")[0] == expected
        assert report(mirror)["failing_since"]
    damages: tuple[dict[str, object], ...] = (
        {"dry_run": None},
        {"started": "yesterday"},
        {"exit_code": 256},
        {"images": [{}]},
        {"shard": "1/3"},
        {"shard": 5},
    )
    for broken in damages:
        path.write_text(json.dumps(content | broken))
        (mirror.folder / "data" / "report.json").unlink(missing_ok=True)
        code, lines = merged(mirror, "data")
        assert code in {1, 2}
        assert "bug" not in " ".join(lines)


def test_another_number_of_shards_costs_look_ups_only(mirror: User) -> None:
    run_at_once(mirror, 3)
    time.sleep(1)
    again = run_at_once(mirror, 2)
    assert {outcome for shard in again for outcome in shard.values()} == {"skipped"}
    assert merged(mirror, "data")[0] == 0
    assert report(mirror)["shards"].keys() == {"1/2", "2/2"}
    assert len(report(mirror)["images"]) == len(NAMES)


def test_the_status_page_shows_all_shards(mirror: User, target: Registry) -> None:
    run_at_once(mirror, 3)
    merged(mirror, "data")
    with Hook.of(mirror) as hook:
        page = hook.text("/")[1]
        assert "all 12 images are up to date" in page
        positions = [page.index(f"{name}<") for name in sorted(f"{target}/{name}:1" for name in NAMES)]
        assert positions == sorted(positions)


def test_what_is_set_wrongly(user: User) -> None:
    user.write("images.json", {"a.io/xx": "r.io/m/{tag}/{name}"})
    run = user.run("sync.py", SHARD="3/2")
    assert (run.code, run.lines[-1]) == (
        2,
        "ERROR SHARD: '3/2' is not a shard; write its number and how many there are, like 2/8",
    )
    run = user.run("sync.py", SHARDS="2", JOB_COMPLETION_INDEX="1")
    assert run.code == 2
    assert run.lines[-1].endswith("which a shard must know before it lists the tags; name the repository")


def push_all(user: User, source: Registry) -> None:
    """Queue all images."""
    with Hook.of(user) as hook:
        for name in NAMES:
            assert hook.hook(f"{source}/{name}:1")[0] == 202


def left(user: User) -> int:
    """How many images are queued."""
    with Hook.of(user) as hook:
        return int(hook.call("/status")[1]["queue"]["images"])


def test_each_push_is_taken_by_one_shard(mirror: User, source: Registry, target: Registry) -> None:
    push_all(mirror, source)
    outcomes = [mirror.sync("--queue", SHARD=f"{number}/2").outcomes for number in (1, 2)]
    assert Counter(name for shard in outcomes for name in shard) == Counter(f"{target}/{name}:1" for name in NAMES)
    assert all(outcomes)
    assert left(mirror) == 0


def test_runs_of_different_numbers_of_shards_exclude_each_other(mirror: User, source: Registry, target: Registry) -> None:
    """Otherwise an old copy could end after a new one, at the same target."""
    stall = Stall()
    proxy = Proxy(target, stall)
    mirror.images(*((f"{source}/{name}:1", f"{proxy}/{name}:1") for name in NAMES))
    push_all(mirror, source)
    with mirror.running("sync.py", SHARD="1/2", JOBS="1") as old:
        wait_for(stall.holding.is_set, "its first copy")
        for env in ({"SHARD": "1/2"}, {"SHARD": "1/3"}, {"SHARD": "2/3"}, {}):
            assert mirror.run("sync.py", "--queue", **env).code == 75, env
        for env in ({"SHARD": "1/2"}, {"SHARD": "1/3"}):
            assert mirror.run("sync.py", **env).code == 75, env
        stall.part = b"no other request"
        second = mirror.sync("--queue", SHARD="2/2")
        assert second.code == 0
        assert second.outcomes, "another shard of the same number runs meanwhile"
        assert left(mirror) == len(NAMES) - len(second.outcomes)
        old.end(signal.SIGKILL)
    stall.release.set()
    rest = [mirror.sync("--queue", SHARD=f"{number}/3").outcomes for number in (1, 2, 3)]
    assert {name for shard in rest for name in shard} == {f"{proxy}/{name}:1" for name in NAMES} - second.outcomes.keys()
    assert left(mirror) == 0


def test_a_failing_queue_run_of_a_shard_notifies_itself(mirror: User, source: Registry) -> None:
    push_all(mirror, source)
    with Hook.of(mirror) as hook:
        mirror.write("images.json", {f"{source}/never": "r.example.com/never"})
        assert hook.hook(f"{source}/never:1")[0] == 202
    with Receiver.serve() as receiver:
        codes = [
            mirror.sync("--queue", SHARD=f"{number}/2", NOTIFY_URLS=f"json://{receiver.address}/").code for number in (1, 2)
        ]
        assert sorted(codes) == [0, 1]
        assert len(receiver.take()) == 1


def test_a_try_of_a_shard_hides_nothing(mirror: User, target: Registry) -> None:
    """A dry run, and images on the command line, leave the page as it was."""
    assert mirror.sync().code == 0
    assert mirror.sync(DRY_RUN="true", SHARD="1/2").code == 0
    run = mirror.sync(f"{target}/{NAMES[0]}:1", f"{target}/other:1", SHARD="1/2")
    assert (run.code, run.outcomes) == (0, {f"{target}/other:1": "copied"})
    with Hook.of(mirror) as hook:
        assert hook.text("/")[1].count("<tr><td>") == len(NAMES)


def test_an_invalid_shard_changes_no_report(mirror: User) -> None:
    assert mirror.sync().code == 0
    before = (mirror.folder / "data" / "report.json").read_text()
    assert mirror.run("sync.py", SHARD="3/2").code == 2
    assert (mirror.folder / "data" / "report.json").read_text() == before
