"""The environment variables of the contract."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from imageporter.config.settings import (
    Secret,
    Settings,
    flag_of,
    misspelt_variables,
    read_secret,
    read_settings,
    with_file_values,
)
from imageporter.system.errors import Problems


def read(flags: Mapping[str, str] = {}, **environ: str) -> tuple[Settings, list[str]]:
    problems = Problems()
    return read_settings(flags, problems, environ), list(problems)


def test_the_defaults_of_the_contract() -> None:
    settings, problems = read()
    assert problems == []
    assert asdict(settings) == {
        "tz": None,
        "cron": "0 0 * * *",
        "run_once": False,
        "run_at_start": False,
        "dry_run": False,
        "sleep_time": 5,
        "retry_delay_time": 5,
        "retries": 2,
        "trust_records": 0,
        "jobs": 4,
        "probes": 32,
        "fast_lookups": True,
        "copy_timeout": 3600,
        "probe_timeout": 60,
        "stall_timeout": 120,
        "config_file": None,
        "accounts_file": None,
        "images_file": None,
        "data_dir": Path("data"),
        "shard": None,
        "shards": None,
        "job_completion_index": None,
        "log_level": "INFO",
        "log_format": "text",
        "no_color": False,
        "crane": None,
        "cosign": None,
        "supercronic": None,
        "hook_listen": "0.0.0.0:8080",
        "hook_username": None,
        "hook_password": None,
        "hook_token": None,
        "hook_cron": "*/10 * * * *",
        "hook_snapshots": False,
        "hook_queue_limit": 10_000,
        "hook_rate": 100,
        "notify_urls": None,
        "notify_on": frozenset({"failure", "recovery"}),
        "ping_url": None,
        "metrics_file": None,
        "metrics_per_image": False,
        "report_html": False,
        "alive_file": None,
        "queue_only": False,
        "scheduled": False,
        "explain": None,
        "notify_test": False,
        "image_arguments": (),
        "given": frozenset(),
    }


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("JOB", "JOBS"),
        ("CROM", "CRON"),
        ("HOOK_TOKENS", "HOOK_TOKEN"),
        ("HOOK_USER", "HOOK_USERNAME"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("DRYRUN", "DRY_RUN"),
        ("IMAGE_FILE", "IMAGES_FILE"),
        ("HOOK_PASSWORD_FILES", "HOOK_PASSWORD_FILE"),
    ],
)
def test_a_misspelt_variable_is_found(name: str, similar: str) -> None:
    assert misspelt_variables({name: "x", "JOBS": "1", "HOOK_TOKEN_FILE": "/x"}) == {name: similar}


def test_other_variables_are_nobodys_business() -> None:
    """What shells, Docker, Kubernetes and CI set."""
    names = "PATH HOME USER LOGNAME LANG PWD TERM HOSTNAME COLOR NO_PROXY CONFIG_DIR HOOK_PORT HOOK_SERVICE_HOST JOB_NAME"
    names += " HUB_PASSWORD HUB_TOKEN HUB_TOKEN_FILE HARBOR_PASSWORD_FILE HOST_USERNAME CRON_FILE ACCOUNTS_DIR"
    assert misspelt_variables(dict.fromkeys(names.split(), "x")) == {}


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1", "yes", "YES", " true\r"])
def test_true(text: str) -> None:
    assert read(RUN_ONCE=text)[0].run_once


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "NO"])
def test_false(text: str) -> None:
    settings, problems = read(DRY_RUN=text)
    assert (settings.dry_run, problems) == (False, [])


@pytest.mark.parametrize("text", ["", "on", "off", "t", "y", "2", "wahr"])
def test_any_other_boolean_is_an_error(text: str) -> None:
    problems = read(RUN_ONCE=text)[1]
    assert problems == [f"RUN_ONCE: {text!r} is neither true nor false; write true or false (1, 0, yes and no are fine too)"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("SLEEP_TIME", "", "'' is not a number of seconds; write 0 or more, like 5 or 0.5"),
        ("SLEEP_TIME", "-1", "'-1' is not a number of seconds; write 0 or more, like 5 or 0.5"),
        ("SLEEP_TIME", "nan", "'nan' is not a number of seconds; write 0 or more, like 5 or 0.5"),
        ("RETRY_DELAY_TIME", "inf", "'inf' is not a number of seconds; write 0 or more, like 5 or 0.5"),
        ("COPY_TIMEOUT", "0", "'0' would end every call at once; write a number of seconds above 0"),
        ("RETRIES", "-1", "'-1' is not a whole number from 0 to 1000"),
        ("RETRIES", "2.5", "'2.5' is not a whole number from 0 to 1000"),
        ("JOBS", "0", "'0' is not a whole number from 1 to 256"),
        ("PROBES", "²", "'²' is not a whole number from 1 to 256"),
        ("LOG_LEVEL", "LOUD", "'LOUD' is not known; write DEBUG, INFO, WARNING or ERROR"),
        ("LOG_FORMAT", "xml", "'xml' is not known; write text or json"),
        ("IMAGES_FILE", "", "is empty; give a path, or leave it out"),
        ("TZ", "Asia", "'Asia' is not a time zone; write a name like Asia/Shanghai or UTC"),
        ("TZ", "../passwd", "a text of 9 characters is not a time zone; write a name like Asia/Shanghai or UTC"),
        ("CRON", " ", "' ' is not a schedule; write one line, like '0 0 * * *'"),
    ],
)
def test_invalid_values(name: str, text: str, problem: str) -> None:
    problems = Problems()
    read_settings({}, problems, {name: text})
    assert list(problems) == [f"{name}: {problem}"]


def test_every_problem_at_once_and_the_defaults_instead() -> None:
    settings, problems = read({"jobs": "none"}, SLEEP_TIME="x", LOG_FORMAT="json")
    assert [line.partition(":")[0] for line in problems] == ["SLEEP_TIME", "--jobs"]
    assert (settings.log_format, settings.jobs, settings.sleep_time) == ("json", 4, 5)


def test_flags_win_over_the_environment() -> None:
    flags = {"accounts_file": "a.json", "images_file": "i.json", "dry_run": "true", "jobs": "2"}
    settings, problems = read(flags, ACCOUNTS_FILE="x", IMAGES_FILE="y", DRY_RUN="false", JOBS="3")
    assert problems == []
    assert (settings.accounts_file, settings.images_file) == (Path("a.json"), Path("i.json"))
    assert (settings.dry_run, settings.jobs) == (True, 2)
    # a variable that a flag replaces is not even parsed
    assert read({"jobs": "2"}, JOBS="nonsense")[1] == []


def test_the_environment_wins_over_a_file() -> None:
    settings, _ = read(JOBS="3")
    settings = with_file_values(settings, {"jobs": 7, "retries": 1})
    assert (settings.jobs, settings.retries) == (3, 1)


def test_secrets(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from a file\n")
    assert read_secret("NAME", {}) is None
    assert read_secret("NAME", {"NAME": "text"}) == "text"
    assert read_secret("NAME", {"NAME_FILE": str(path)}) == "from a file"
    settings, problems = read(HOOK_PASSWORD_FILE=str(path), HOOK_USERNAME=" ", HOOK_TOKEN="\udcff")
    assert (settings.hook_password, settings.hook_username) == (Secret("from a file"), None)
    assert problems == ["HOOK_TOKEN: is not UTF-8; choose letters that are"]
    assert "from a file" not in f"{settings}{settings!r}"
    _, problems = read(HOOK_TOKEN="a", HOOK_TOKEN_FILE="/nowhere", HOOK_PASSWORD_FILE="/nowhere")
    assert problems == [
        "HOOK_PASSWORD: the file in HOOK_PASSWORD_FILE cannot be read; correct it",
        "HOOK_TOKEN: HOOK_TOKEN and HOOK_TOKEN_FILE are both set; remove one",
    ]


@pytest.mark.parametrize(
    ("text", "address"),
    [(":8080", "0.0.0.0:8080"), ("[::]:80", "[::]:80"), ("localhost:0", "localhost:0"), (" 127.0.0.1:1 ", "127.0.0.1:1")],
)
def test_addresses_to_listen_on(text: str, address: str) -> None:
    assert read(HOOK_LISTEN=text) == (Settings(hook_listen=address, given=frozenset({"hook_listen"})), [])


@pytest.mark.parametrize("text", ["8080", "a:b", "::1:70000", "a b", ""])
def test_invalid_addresses(text: str) -> None:
    reason = "is not an address to listen on; write one like 0.0.0.0:8080 or [::]:8080"
    assert read(HOOK_LISTEN=text)[1] == [f"HOOK_LISTEN: {text!r} {reason}"]


@pytest.mark.parametrize("name", ["JOBS", "TZ", "HOOK_LISTEN", "LOG_LEVEL", "DRY_RUN", "SLEEP_TIME"])
def test_a_password_in_the_wrong_variable_is_not_shown(name: str) -> None:
    for password in ("hunter2", "correct horse", "P4ss/word", "s3cret:pw"):
        (problem,) = read({}, **{name: password})[1]
        assert problem.startswith(f"{name}: a text of {len(password)} characters is not ") or "is neither" in problem
        assert password not in problem


def test_flag_names() -> None:
    assert [flag_of(name) for name in ("images_file", "queue_only", "dry_run")] == ["--images", "--queue", "--dry-run"]
