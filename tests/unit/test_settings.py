from pathlib import Path

import pytest

from imageporter.config.settings import Settings, load


def loaded(*flags: str, **environ: str) -> tuple[Settings, list[str]]:
    mistakes: list[str] = []
    return load(flags, mistakes, environ), mistakes


def test_the_defaults_are_the_contracts() -> None:
    settings, mistakes = loaded()
    assert mistakes == []
    assert settings.model_dump() == {
        "tz": None,
        "cron": "0 0 * * *",
        "run_once": False,
        "dry_run": False,
        "sleep_time": 5,
        "retry_delay_time": 5,
        "retries": 2,
        "trust_records": 0,
        "jobs": 4,
        "probes": 16,
        "copy_timeout": 3600,
        "probe_timeout": 60,
        "config_file": None,
        "accounts_file": None,
        "images_file": None,
        "data_dir": Path("data"),
        "log_level": "INFO",
        "log_format": "text",
        "no_color": False,
        "crane": None,
        "supercronic": None,
        "hook_listen": "0.0.0.0:8080",
        "hook_username": None,
        "hook_password": None,
        "hook_token": None,
        "hook_cron": "*/10 * * * *",
        "hook_snapshots": False,
        "hook_queue": 10_000,
        "hook_rate": 100,
        "alive_file": None,
        "queue": False,
    }


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1", "yes", "YES", " true\r"])
def test_true(text: str) -> None:
    assert loaded(RUN_ONCE=text)[0].run_once


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "NO"])
def test_false(text: str) -> None:
    settings, mistakes = loaded(DRY_RUN=text)
    assert (settings.dry_run, mistakes) == (False, [])


@pytest.mark.parametrize("text", ["", "on", "off", "t", "y", "2", "wahr"])
def test_any_other_boolean_is_an_error(text: str) -> None:
    mistakes = loaded(RUN_ONCE=text)[1]
    assert mistakes == [f"RUN_ONCE: {text!r} is neither true nor false; write true or false (1, 0, yes and no are fine too)"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
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
        ("TZ", "../passwd", "'../passwd' is not a time zone; write a name like Asia/Shanghai or UTC"),
        ("CRON", " ", "' ' is not a schedule; write one line, like '0 0 * * *'"),
    ],
)
def test_wrong_values(name: str, text: str, words: str) -> None:
    assert loaded(**{name: text})[1] == [f"{name}: {words}"]


def test_every_mistake_at_once_and_the_rest_still_counts() -> None:
    settings, mistakes = loaded("--jobs", "none", SLEEP_TIME="x", LOG_FORMAT="json")
    assert [line.partition(":")[0] for line in mistakes] == ["SLEEP_TIME", "--jobs"]
    assert (settings.log_format, settings.jobs) == ("json", 4)


def test_flags_win_over_the_environment() -> None:
    flags = ("--accounts", "a.json", "--images", "i.json", "--dry-run", "--jobs", "2")
    settings, mistakes = loaded(*flags, ACCOUNTS_FILE="x", IMAGES_FILE="y", DRY_RUN="false", JOBS="3")
    assert mistakes == []
    assert (settings.accounts_file, settings.images_file) == (Path("a.json"), Path("i.json"))
    assert (settings.dry_run, settings.jobs) == (True, 2)
    # what a flag replaces is not even read
    assert loaded("--jobs", "2", JOBS="nonsense")[1] == []


def test_help_names_every_flag_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        loaded("--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name in (*(name.upper() for name in Settings.model_fields), "--accounts", "--images", "--dry-run", "--jobs"):
        assert name in said
