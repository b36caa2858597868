"""The compose file of the repository, as it is: the schedule, the hook beside it, the ends of both."""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from docker import Network, docker, inspected, logs, wait_for
from support import BUNDLE, TOOLS

EVERY_TWO_SECONDS = "*/2 * * * * * *"


@dataclass
class Project:
    """A folder with the compose file, and an override that joins the network of the registries and sets variables."""

    folder: Path
    network: str

    def compose(self, *command: str, check: bool = True) -> str:
        """Run docker compose."""
        plugin = docker("compose", "version", check=False).returncode == 0
        program = ("docker", "compose") if plugin else (str(TOOLS / "docker-compose"),)
        done = subprocess.run((*program, *command), cwd=self.folder, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def set(self, scheduled: Mapping[str, str], hook: Mapping[str, str] | None = None) -> None:
        """Write the override: variables of the two services."""
        services: dict[str, Any] = {"imageporter": {"environment": {**QUICK, **scheduled}, "networks": ["outside"]}}
        if hook is not None:
            services["hook"] = {"environment": dict(hook), "networks": ["outside"]}
            (self.folder / ".env").write_text("COMPOSE_PROFILES=hook\nHOOK_USERNAME=me\nHOOK_PASSWORD=word\nHOOK_TOKEN=t\n")
        outside = {"outside": {"external": True, "name": self.network}}
        (self.folder / "docker-compose.override.yml").write_text(json.dumps({"services": services, "networks": outside}))

    def up(self) -> None:
        """As the quick start has it."""
        self.compose("up", "-d")


QUICK = {"SLEEP_TIME": "0", "RETRY_DELAY_TIME": "0", "RETRIES": "0"}


@pytest.fixture
def project(network: Network) -> Iterator[Project]:
    shutil.copy(BUNDLE / "docker-compose.yml", network.folder)
    network.files(("app:1", "mirror/app:1"))
    made = Project(network.folder, network.name)
    try:
        yield made
    finally:
        print(made.compose("logs", "--no-color", check=False)[-8000:])
        made.compose("down", "--volumes", "--timeout", "5", check=False)


@contextmanager
def stopped(container: str) -> Iterator[None]:
    """A context in which a container stands still: a registry in it takes what is sent, and does not answer."""
    docker("pause", container)
    try:
        yield
    finally:
        docker("unpause", container)


def test_the_schedule(network: Network, project: Project) -> None:
    digest = network.push("app:1", b"content")
    project.set({"CRON": EVERY_TWO_SECONDS})
    project.up()
    wait_for(lambda: logs("imageporter").count("pass done: 0 copied, 1 skipped") > 1, "two passes that found it equal")
    assert network.digest("target", "mirror/app:1") == digest
    output = logs("imageporter")
    assert "pass done: 1 copied, 0 skipped, 0 failed" in output
    # TZ: in the stamps, and in the schedule
    (at,) = re.findall(r"^(\S+ \S+) INFO    scheduled: ", output, re.MULTILINE)
    shanghai = datetime.strptime(f"{at} +0800", "%Y-%m-%d %H:%M:%S %z")
    assert abs((datetime.now(UTC) - shanghai).total_seconds()) < 120
    assert re.search(r"scheduled: \*/2 .*; the next pass is at \S+ \S+ \+0800 CST", output)
    assert inspected("imageporter")["State"]["Running"]


def test_without_an_accounts_file(network: Network, project: Project) -> None:
    """docker makes a directory in its place."""
    digest = network.push("app:1", b"content")
    (network.folder / "accounts.json").unlink()
    project.set({"CRON": "0 0 1 1 *", "RUN_AT_START": "true"})
    project.up()
    wait_for(lambda: "pass done: 1 copied" in logs("imageporter"), "the pass")
    assert (network.folder / "accounts.json").is_dir()
    output = logs("imageporter")
    assert output.count("accounts.json: is an empty directory, so all registries are accessed anonymously; ") == 1
    assert network.digest("target", "mirror/app:1") == digest
    # by hand, as the quick start has it
    done = docker("exec", "imageporter", "python", "/app/sync.py")
    assert "pass done: 0 copied, 1 skipped, 0 failed" in done.stdout


def test_a_pass_that_outlasts_the_interval_is_not_overtaken(network: Network, project: Project) -> None:
    network.push("app:1", b"content")
    project.set({"CRON": EVERY_TWO_SECONDS})
    with stopped(network.containers["target"]):
        project.up()
        wait_for(lambda: "not starting: job is still running" in logs("imageporter"), "the next turn is left out")
        assert logs("imageporter").count("pass of 1 image") == 1
    wait_for(lambda: "pass done: 1 copied" in logs("imageporter"), "the pass ends")
    assert "another pass is running" not in logs("imageporter")


def test_a_wrong_schedule_ends_after_three_restarts(project: Project) -> None:
    """With the restart policy that the quick start recommends."""
    project.set({"CRON": "61 * * * *"})
    file = project.folder / "docker-compose.yml"
    file.write_text(file.read_text().replace('restart: "no"', "restart: on-failure:3"))
    project.up()
    wait_for(lambda: logs("imageporter").count("CRON: '61 * * * *' is not a schedule") == 4, "four starts")
    wait_for(lambda: inspected("imageporter")["State"]["Status"] == "exited", "the end")
    assert inspected("imageporter")["State"]["ExitCode"] == 2


def test_a_stop_during_a_copy(network: Network, project: Project) -> None:
    network.push("app:1", b"content")
    project.set({"CRON": EVERY_TWO_SECONDS})
    with stopped(network.containers["target"]):
        project.up()
        wait_for(lambda: "pass of 1 image" in logs("imageporter"), "a pass runs")
        began = time.monotonic()
        project.compose("stop")
        assert time.monotonic() - began < 9  # docker kills after ten
    output = logs("imageporter")
    assert "stopping: the running pass, if there is one, gets a SIGTERM" in output
    assert "interrupted: 1 of 1 image not finished; the next pass continues with them" in output
    assert "stopped by SIGTERM" in output
    assert inspected("imageporter")["State"]["ExitCode"] == 143


def test_a_kill_and_a_new_container(network: Network, project: Project) -> None:
    """What was killed converges, and /data outlives the container."""
    digest = network.push("app:1", b"content")
    project.set({"CRON": EVERY_TWO_SECONDS})
    with stopped(network.containers["target"]):
        project.up()
        wait_for(lambda: "pass of 1 image" in logs("imageporter"), "a pass runs")
        docker("kill", "imageporter")
    project.up()
    wait_for(lambda: "pass done: " in logs("imageporter").partition("stopping")[0], "a pass ends")
    wait_for(lambda: "1 skipped" in logs("imageporter"), "it is there")
    assert network.digest("target", "mirror/app:1") == digest
    before = docker("exec", "imageporter", "stat", "-c", "%i", "/data/records.db").stdout
    project.compose("rm", "--stop", "--force")
    project.up()
    wait_for(lambda: "pass done: 0 copied, 1 skipped" in logs("imageporter"), "a pass of the new container")
    assert docker("exec", "imageporter", "stat", "-c", "%i", "/data/records.db").stdout == before


def test_the_hook_beside_it(network: Network, project: Project) -> None:
    digest = network.push("app:1", b"content")
    project.set({"CRON": "0 0 1 1 *", "HOOK_CRON": EVERY_TWO_SECONDS}, {})
    project.up()
    wait_for(lambda: "the hook listens" in logs("imageporter-hook"), "the hook listens")
    wait_for(lambda: "scheduled: " in logs("imageporter"), "the schedule")
    call = urllib.request.Request(f"http://127.0.0.1:8080/images/sync/hook?name={network['source']}/team/app&tag=1")
    call.add_header("X-Hook-Token", "t")
    with pytest.raises(urllib.error.HTTPError, match="404"):  # it has no team/
        urllib.request.urlopen(call)
    call.full_url = call.full_url.replace("team/app", "app")
    with urllib.request.urlopen(call) as answer:
        assert answer.status == 202
    wait_for(lambda: "queue run done: 1 copied" in logs("imageporter"), "the queue run")
    assert network.digest("target", "mirror/app:1") == digest
    project.compose("stop")
    assert inspected("imageporter-hook")["State"]["ExitCode"] == 143
