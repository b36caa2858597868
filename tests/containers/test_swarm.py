"""Shards as tasks of a Docker Swarm service, on a real engine."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from docker import IMAGE, docker, wait_for
from support import BUNDLE, Registry

STACK = "imageporter"
IMAGES = 400
SHARDS = 4


@pytest.fixture
def swarm() -> Iterator[None]:
    """A swarm of this machine alone."""
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
    try:
        yield
    finally:
        docker("stack", "rm", STACK, check=False)
        docker("swarm", "leave", "--force")
        deadline = time.monotonic() + 60
        while tasks() and time.monotonic() < deadline:
            time.sleep(0.5)
        with suppress(AssertionError):
            docker("volume", "rm", f"{STACK}_data")


def tasks() -> list[str]:
    """The containers of running tasks."""
    return docker("ps", "--quiet", "--filter", f"label=com.docker.stack.namespace={STACK}").stdout.split()


def states() -> list[str]:
    """The state of each task, also of those that were replaced."""
    done = docker("service", "ps", f"{STACK}_shard", "--format", "{{.CurrentState}}", "--no-trunc", check=False)
    return [line.split()[0] for line in done.stdout.splitlines()]


@pytest.mark.usefixtures("swarm")
def test_four_tasks_are_one_pass_although_one_is_killed(tmp_path: Path) -> None:
    names = [f"team-{number % 40}/app-{number}" for number in range(IMAGES)]
    with Registry.serve(tmp_path / "source.log") as source, Registry.serve(tmp_path / "target.log") as target:
        digest = source.push("base:1")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: source.crane("copy", f"{source}/base:1", f"{source}/{name}:1"), names))
        folder = tmp_path / "stack"
        folder.mkdir()
        shutil.copy(BUNDLE / "examples" / "swarm" / "stack.yml", folder)
        rules = [{"source": f"{source}/{name}:1", "target": f"{target}/mirror/{name}:1"} for name in names]
        (folder / "images.json").write_text(json.dumps(rules))
        (folder / "accounts.json").write_text("[]")
        subprocess.run(
            ["docker", "stack", "deploy", "--compose-file", "stack.yml", STACK],
            cwd=folder,
            env=os.environ | {"RUN_ONCE": "true", "SLEEP_TIME": "0.1"},
            check=True,
        )
        wait_for(lambda: len(tasks()) == SHARDS, "the tasks", 120)
        wait_for(lambda: len(copied(target)) > IMAGES // 8, "an eighth of the copies", 120)
        victim = tasks()[0]
        docker("kill", "--signal", "KILL", victim)
        assert len(copied(target)) < IMAGES, "it was killed midway"
        wait_for(lambda: states().count("Complete") == SHARDS, "the end of all shards", 180)
        assert "Failed" in states(), "the engine has started the killed one again"
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda name: target.digest(f"mirror/{name}:1"), names)) == {digest}
        volume = ("run", "--rm", "--volume", f"{STACK}_data:/data")
        done = docker(*volume, IMAGE, "sync", "--merge-reports", "/data")
        assert "all shards done: " in done.stdout
        report = json.loads(docker(*volume, "--entrypoint", "cat", IMAGE, "/data/report.json").stdout)
    assert (report["exit_code"], report["failed"], report["copied"] + report["skipped"]) == (0, 0, IMAGES)
    assert {row["target"] for row in report["images"]} == {row["target"] for row in rules}
    assert "problems" not in report


def copied(target: Registry) -> list[str]:
    """The repositories at the target."""
    return target.crane("catalog", str(target)).split()
