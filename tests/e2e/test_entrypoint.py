"""The container's entry point: one pass, or passes on a schedule; real supercronic, real signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from support import BUNDLE, SUPERCRONIC, Proxy, Registry, Running, Stall, User, alive, descendants, wait_for

from imageporter import __version__
from imageporter.config.settings import VARIABLES

EVERY_SECOND = "* * * * * * *"


def test_run_once_runs_the_pass_and_exits_with_its_code(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    # the schedule is not validated
    run = user.run("entrypoint.py", RUN_ONCE="true", CRON="not a schedule", SUPERCRONIC="/nowhere", LOG_FORMAT="json")
    assert (run.code, run.outcomes) == (0, {f"{target}/app:1": "copied"})
    assert target.digest("app:1") == digest

    user.images((f"{source}/gone:1", f"{target}/gone:1"))
    assert user.run("entrypoint.py", RUN_ONCE="1").code == 1

    user.write("images.json", "{")
    assert user.run("entrypoint.py", RUN_ONCE="YES").code == 2


def test_every_problem_is_listed_at_once(user: User) -> None:
    user.write("images.json", [{"source": "busybox", "target": "Example.com/UPPER"}])
    user.write("accounts.json", [{"registry": "docker.io", "username": "me"}])
    run = user.run("entrypoint.py", RUN_ONCE="perhaps", SLEEP_TIME="soon", CRON="61 * * * *", TZ="Mars/Olympus")
    assert run.code == 2
    assert run.lines == [
        "ERROR TZ: 'Mars/Olympus' is not a time zone; write a name like Asia/Shanghai or UTC",
        "ERROR RUN_ONCE: a text of 7 characters is neither true nor false; "
        "write true or false (1, 0, yes and no are fine too)",
        "ERROR SLEEP_TIME: 'soon' is not a number of seconds; write 0 or more, like 5 or 0.5",
        "ERROR accounts.json: [0].password: is missing; add it",
        "ERROR images.json: [0].target: 'Example.com/UPPER' is not an image reference (host/repository:tag); "
        "a repository is written in small letters",
        "ERROR CRON: '61 * * * *' is not a schedule: syntax error in minute field: '61'; write one like '0 0 * * *'",
    ]


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("0 0 * *", "it has 4 fields, not 5, 6 (with the year last) or 7 (with seconds first, the year last)"),
        ("0 0 * * * rm", "syntax error in year field: 'rm'"),
        ("@every 5m", "it has 2 fields, not 5, 6 (with the year last) or 7 (with seconds first, the year last)"),
        ("@nightly", "missing field(s)"),
        ("a=b", "supercronic reads no schedule in it"),
        ("# * * * *", "supercronic reads no schedule in it"),
    ],
)
def test_an_invalid_schedule_is_an_error_of_cron(user: User, cron: str, reason: str) -> None:
    user.write("images.json", [])
    run = user.run("entrypoint.py", CRON=cron)
    assert run.code == 2
    assert run.lines[-1] == f"ERROR CRON: {cron!r} is not a schedule: {reason}; write one like '0 0 * * *'"


@pytest.mark.parametrize("cron", ["Tr0ub4dor-and-3", "0 0 * * Tr0ub4dor", "0 0 * * *\nTr0ub4dor"])
def test_what_may_be_a_password_instead_of_a_schedule_is_not_shown(user: User, cron: str) -> None:
    user.write("images.json", [])
    run = user.run("entrypoint.py", CRON=cron, LOG_LEVEL="DEBUG")
    lines = "write one line, like" if "\n" in cron else "write one like"
    assert run.code == 2
    assert run.lines[-1] == f"ERROR CRON: a text of {len(cron)} characters is not a schedule; {lines} '0 0 * * *'"
    assert "Tr0ub4dor" not in run.output


def test_a_schedule_with_six_fields_is_a_warning(user: User) -> None:
    user.write("images.json", [])
    with user.running("entrypoint.py", CRON="0 0 3 * * *") as running:
        wait_for(lambda: "scheduled: " in running.output, "the hand-over")
        warning = "has six fields, so the last one is the year; to begin with seconds, write seven fields"
        assert f"WARNING CRON: '0 0 3 * * *' {warning}" in running.output
        assert re.search(r"scheduled: 0 0 3 \* \* \*; the next pass is at \d{4}-\d\d-03 00:00:00 ", running.output)


def test_supercronic_dies_with_the_entry_point(user: User) -> None:
    user.write("images.json", [])
    with user.running("entrypoint.py", CRON="@yearly") as running:
        wait_for(lambda: "scheduled: " in running.output, "the hand-over")
        wait_for(lambda: descendants(running.process.pid), "supercronic runs")
        below = descendants(running.process.pid)
        running.process.kill()
        wait_for(lambda: not alive(below), "supercronic died too")


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 1 1 * 2020"])
def test_a_schedule_that_never_comes(user: User, cron: str) -> None:
    user.write("images.json", [])
    run = user.run("entrypoint.py", CRON=cron)
    assert (run.code, run.lines[-1]) == (2, f"ERROR CRON: {cron!r} never comes; correct its day, month or year")


def test_tabs_are_as_good_as_spaces(user: User) -> None:
    user.write("images.json", [])
    with user.running("entrypoint.py", CRON="0\t0  * *\t*") as running:
        wait_for(lambda: "scheduled: " in running.output, "the hand-over")


@pytest.mark.parametrize("cron", ["", "  ", "0 0 * * *\n* * * * * rm"])
def test_a_schedule_of_no_or_several_lines(user: User, cron: str) -> None:
    user.write("images.json", [])
    run = user.run("entrypoint.py", CRON=cron)
    assert (run.code, run.lines[-1]) == (2, f"ERROR CRON: {cron!r} is not a schedule; write one line, like '0 0 * * *'")


@pytest.mark.parametrize("script", ["entrypoint.py", "hook.py"])
def test_help(user: User, script: str) -> None:
    run = user.run(script, "--help")
    assert run.code == 0
    assert "\nenvironment:\n  TZ                time zone of CRON and of the logs (default: the machine's)\n" in run.output
    for name in VARIABLES:
        assert f"\n  {name} " in run.output


@pytest.mark.parametrize("script", ["sync.py", "entrypoint.py", "hook.py"])
def test_version(user: User, script: str) -> None:
    for words in (("--version",), ("hook", "--version"), ("sync", "--version"))[: 3 if script == "entrypoint.py" else 1]:
        run = user.run(script, *words)
        assert (run.code, run.output) == (0, f"ImagePorter {__version__}\n")


@pytest.mark.parametrize("script", ["sync.py", "entrypoint.py", "hook.py"])
def test_a_python_without_the_libraries(user: User, script: str) -> None:
    """Such as the one that the first line of the script finds."""
    command = [sys.executable, "-S", str(BUNDLE / script)]
    done = subprocess.run(command, cwd=user.folder, env=user.environ({}), capture_output=True, text=True, check=False)
    missing = "does not have loguru, sh, pydantic, ruamel.yaml, pycurl, re2"
    remedy = "run `make tools`, and start this script with .venv/bin/python"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ERROR {sys.executable} {missing}: {remedy}\n")


def supercronic_runs(running: Running) -> bool:
    """Whether the schedule runs; supercronic also validates it before."""
    return any("-passthrough-logs" in argv for argv in descendants(running.process.pid).values())


def test_run_at_start_runs_one_pass_before_the_schedule(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    alive_file = user.tmp / "alive"
    with user.running("entrypoint.py", CRON="@yearly", RUN_AT_START="true", ALIVE_FILE=str(alive_file)) as running:
        wait_for(lambda: supercronic_runs(running), "supercronic")
        assert target.digest("app:1") == digest
        run = running.end(signal.SIGTERM, seconds=10)
    assert run.code == 143
    assert [line.partition(" (")[0] for line in run.lines[1:5]] == [
        run.lines[1],
        "INFO RUN_AT_START: the first pass begins now; the schedule follows",
        "INFO pass of 1 image",
        f"INFO copied     {source}/app:1 -> {target}/app:1",
    ]
    assert run.lines[0] == "INFO no accounts file found: all registries are accessed anonymously"
    assert run.lines[1].startswith("INFO scheduled: @yearly; the next pass is at ")
    assert run.output.count("no accounts file") == 1


def test_a_first_pass_that_fails_does_not_end_the_service(user: User, source: Registry, target: Registry) -> None:
    user.images((f"{source}/gone:1", f"{target}/gone:1"))
    with user.running("entrypoint.py", CRON="@yearly", RUN_AT_START="true") as running:
        wait_for(lambda: "ERROR   the first pass ended with exit code 1" in running.output, "the first pass")
        wait_for(lambda: supercronic_runs(running), "supercronic")
        assert running.end(signal.SIGTERM, seconds=10).code == 143


def test_a_signal_ends_the_first_pass_and_the_service(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    stall = Stall()
    user.images((f"{source}/app:1", f"{Proxy(target, stall)}/app:1"))
    with user.running("entrypoint.py", CRON=EVERY_SECOND, RUN_AT_START="true") as running:
        wait_for(stall.holding.is_set, "a copy began")
        below = descendants(running.process.pid)
        assert not supercronic_runs(running)
        run = running.end(signal.SIGTERM, seconds=10)
        assert not alive(below)
    stall.release.set()
    assert (run.code, run.lines[-1]) == (143, "INFO stopped by SIGTERM")
    assert json.loads((user.folder / "data" / "report.json").read_text())["exit_code"] == 143
    assert list(user.tmp.iterdir()) == []


def test_arguments_are_refused(user: User) -> None:
    run = user.run("entrypoint.py", "--dry-run", "x y")
    assert run.code == 2
    assert run.lines == [
        "ERROR entrypoint.py takes no argument, or hook, or sync and the flags of sync.py; found --dry-run 'x y'; "
        "settings are environment variables"
    ]


def test_sync_with_flags(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    image = (f"{source}/app:1", f"{target}/app:1")
    run = user.run("entrypoint.py", "sync", *image, CRON="every day", LOG_FORMAT="json")
    assert (run.code, run.outcomes) == (0, {image[1]: "copied"})
    assert target.digest("app:1") == source.digest("app:1")
    user.images(image)
    run = user.run("entrypoint.py", "sync", "--explain")
    assert (run.code, run.output.splitlines()[-1]) == (0, f"  {image[0]} -> {image[1]}")
    run = user.run("entrypoint.py", "sync", "--nonsense")
    assert (run.code, run.output.splitlines()[-1]) == (2, "sync.py: error: unrecognized arguments: --nonsense")


def test_missing_or_broken_tools(user: User) -> None:
    user.write("images.json", [])
    run = user.run("entrypoint.py", CRANE="/nowhere/crane", SUPERCRONIC="supercronic-nowhere")
    assert run.code == 2
    assert run.lines[-2:] == [
        "ERROR CRANE: '/nowhere/crane' is not a program that can be run; run `make tools`, or set CRANE to the path of crane",
        "ERROR SUPERCRONIC: 'supercronic-nowhere' is not a program that can be run; run `make tools`, "
        "or set SUPERCRONIC to the path of supercronic",
    ]
    for name, content, reason in (
        ("script", "no shebang", "Exec format error"),
        ("binary", "\x7fELF", "Exec format error"),
        ("other", "#!/nowhere", "No such file or directory"),
        ("failing", "#!/bin/sh\nexit 3", "`version` exits with 3"),
    ):
        user.write(name, content).chmod(0o755)
        run = user.run("entrypoint.py", CRANE=f"./{name}")
        assert run.code == 2
        message = f"'./{name}' does not work as crane: {reason}; set it to the path of crane for this machine"
        assert run.lines[-1] == f"ERROR CRANE: {message}"

    run = user.run("entrypoint.py", SUPERCRONIC="/bin/ls")
    assert run.code == 2
    assert (
        run.lines[-1]
        == "ERROR SUPERCRONIC: '/bin/ls' does not work as supercronic (JSONDecodeError); set it to the path of supercronic"
    )


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_schedule_runs_passes_until_a_signal_arrives(
    user: User, source: Registry, target: Registry, log_format: str
) -> None:
    first = source.push("app:1", "first")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    with user.running("entrypoint.py", CRON=EVERY_SECOND, LOG_FORMAT=log_format, TZ="Asia/Shanghai") as running:
        wait_for(lambda: target.digest("app:1") == first, "the first pass")
        second = source.push("app:1", "second")
        wait_for(lambda: target.digest("app:1") == second, "a later pass")
        run = running.end(signal.SIGTERM, seconds=10)
    assert run.code == 143
    lines = [row["message"] for row in run.rows] if log_format == "json" else [line.partition(" ")[2] for line in run.lines]
    assert re.fullmatch(rf"scheduled: {re.escape(EVERY_SECOND)}; the next pass is at [-0-9]+ [:0-9]+ \+0800 CST", lines[1])
    assert lines[-1] == "stopped by SIGTERM"
    assert list(user.tmp.iterdir()) == []


def test_a_sigterm_reaches_the_running_pass(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    stall = Stall()
    user.images((f"{source}/app:1", f"{Proxy(target, stall)}/app:1"))
    with user.running("entrypoint.py", CRON=EVERY_SECOND) as running:
        wait_for(stall.holding.is_set, "a copy began")
        below = descendants(running.process.pid)
        assert any("copy" in argv for argv in below.values())
        began = time.monotonic()
        run = running.end(signal.SIGTERM, seconds=10)
        assert time.monotonic() - began < 10
        assert not alive(below)
    stall.release.set()
    assert run.code == 143
    assert "interrupted: 1 of 1 image not finished; the next pass continues with them" in run.output
    # before, it may have logged that a slow machine's pass takes longer than a second
    assert "supercronic" not in run.output.partition("stopping: ")[2]
    assert json.loads((user.folder / "data" / "report.json").read_text())["exit_code"] == 143
    assert list(user.tmp.iterdir()) == []


def test_a_supercronic_that_exits_without_a_reason_is_a_failure(user: User) -> None:
    """A fake: no real supercronic exits by itself with 0."""
    user.write("images.json", [])
    fake = user.write("supercronic", f'#!/bin/sh\ncase "$1" in -test|-debug) exec {SUPERCRONIC} "$@";; esac\n')
    fake.chmod(0o755)
    run = user.run("entrypoint.py", SUPERCRONIC=str(fake))
    assert (run.code, run.lines[-1]) == (1, "ERROR supercronic ended by itself, with 0")


def test_a_schedule_whose_year_is_over_ends_the_service(user: User) -> None:
    """A fake: nobody waits for the end of a year. supercronic logs the same for a year that is over."""
    user.write("images.json", [])
    crontab = user.write("crontab", "0 0 1 1 * 2020 true\n")
    fake = user.write(
        "supercronic",
        f'#!/bin/sh\ncase "$1" in -test|-debug) exec {SUPERCRONIC} "$@";; esac\nexec {SUPERCRONIC} -json -quiet {crontab}\n',
    )
    fake.chmod(0o755)
    run = user.run("entrypoint.py", SUPERCRONIC=str(fake))
    assert (run.code, run.lines[-1]) == (1, "ERROR CRON has no further run, because its last day is over; correct it")


def test_the_last_pass_of_a_schedule_is_finished(user: User, source: Registry, target: Registry) -> None:
    """supercronic repeats itself meanwhile, and that is not relayed."""
    digest = source.push("app:1")
    stall = Stall()
    user.images((f"{source}/app:1", f"{Proxy(target, stall)}/app:1"))
    last = datetime.now(UTC) + timedelta(seconds=20)
    cron = f"{last.second} {last.minute} {last.hour} {last.day} {last.month} * {last.year}"
    with user.running("entrypoint.py", CRON=cron, TZ="UTC") as running:
        wait_for(stall.holding.is_set, "the pass began")
        wait_for(lambda: "CRON has no further run" in running.output, "supercronic's schedule is over")
        stall.release.set()
        assert running.process.wait(timeout=30) == 1
    assert target.digest("app:1") == digest
    assert "pass done: 1 copied" in running.output
    assert len(running.output.splitlines()) < 10


@pytest.mark.parametrize(("variable", "script"), [("CRANE", "sync.py"), ("SUPERCRONIC", "entrypoint.py")])
def test_a_signal_while_a_tool_hangs(user: User, variable: str, script: str) -> None:
    user.write("images.json", [])
    began = user.home / "began"
    tool = user.write("tool", f"#!/bin/sh\ntouch {began}\nsleep 300\n")
    tool.chmod(0o755)
    with user.running(script, **{variable: str(tool)}) as running:
        wait_for(began.exists, "the tool was started")
        below = descendants(running.process.pid)
        run = running.end(signal.SIGTERM, seconds=10)
        wait_for(lambda: not alive(below), "nothing is left")
    assert run.code == 143
    assert run.lines[-1] == "WARNING interrupted before anything was attempted"
    assert list(user.tmp.iterdir()) == []


def test_the_service_exits_with_supercronic(user: User) -> None:
    user.write("images.json", [])
    with user.running("entrypoint.py", CRON="@yearly") as running:
        wait_for(lambda: "scheduled: " in running.output, "the hand-over")

        def supercronics() -> list[int]:
            return [pid for pid, argv in descendants(running.process.pid).items() if argv[:1] == [str(SUPERCRONIC)]]

        wait_for(supercronics, "supercronic runs")
        os.kill(supercronics()[0], signal.SIGKILL)
        assert running.process.wait(timeout=10) == 137
        assert running.output.endswith("ERROR   supercronic ended by itself, with -9\n")
    assert list(user.tmp.iterdir()) == []
