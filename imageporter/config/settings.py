"""The env-var contract, and the flags that win over it -> Settings. The only reader of `os.environ`."""

import argparse
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

BUNDLE = Path(__file__).resolve().parent.parent
LONGEST_WAIT = 366 * 24 * 3600
MOST_AT_ONCE = 256
MOST_RETRIES = 1000
MOST_QUEUED = 1_000_000
HELP = "{}\nSettings are environment variables, all in `sync.py --help`.\n"
EXIT_CODES = """

exit codes: 0 all well, 1 an image failed, 2 the settings or files are wrong and nothing was tried,
75 another pass is running, 130 and 143 interrupted (SIGINT, SIGTERM)"""


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word not in {"true", "1", "yes", "false", "0", "no"}:
        raise ValueError(f"{text!r} is neither true nor false; write true or false (1, 0, yes and no are fine too)")
    return word in {"true", "1", "yes"}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ValueError(f"{text!r} is not a number of seconds; write 0 or more, like 5 or 0.5")
    return seconds


def _above_zero(seconds: float) -> float:
    if seconds == 0:
        raise ValueError("'0' would end every call at once; write a number of seconds above 0")
    return seconds


def _whole(least: int, most: int) -> Callable[[str], int]:
    def validate(text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 10 and least <= int(digits) <= most):
            raise ValueError(f"{text!r} is not a whole number from {least} to {most}")
        return int(digits)

    return validate


def _one_of(*words: str) -> Callable[[str], str]:
    def validate(text: str) -> str:
        word = next((word for word in words if word.lower() == text.strip().lower()), None)
        if word is None:
            raise ValueError(f"{text!r} is not known; write {', '.join(words[:-1])} or {words[-1]}")
        return word

    return validate


def _path(text: str) -> Path:
    if not text.strip():
        raise ValueError("is empty; give a path, or leave it out")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r} begins with the home of a user who does not exist") from None


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{text!r} is not a time zone; write a name like Asia/Shanghai or UTC") from None
    return text


def _cron(text: str) -> str:
    if not text.strip() or len(text.strip().splitlines()) > 1:
        raise ValueError(f"{text!r} is not a schedule; write one line, like '0 0 * * *'")
    return text.strip()


def _cron_or_nothing(text: str) -> str:
    return _cron(text) if text.strip() else ""


def _listen(text: str) -> str:
    host, colon, port = text.strip().rpartition(":")
    known = re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*", host)
    if not (colon and known and re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 1 << 16):
        raise ValueError(f"{text!r} is not an address to listen on; write one like 0.0.0.0:8080 or [::]:8080")
    return f"{host or '0.0.0.0'}:{int(port)}"  # noqa: S104 (the user's choice)


Flag = Annotated[bool, BeforeValidator(_flag)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Limit = Annotated[Seconds, AfterValidator(_above_zero)]
Width = Annotated[int, BeforeValidator(_whole(1, MOST_AT_ONCE))]
Place = Annotated[Path, BeforeValidator(_path)]
Zone = Annotated[str, AfterValidator(_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
CronOrNothing = Annotated[str, AfterValidator(_cron_or_nothing)]
Listen = Annotated[str, AfterValidator(_listen)]
Count = Annotated[int, BeforeValidator(_whole(1, MOST_QUEUED))]
Rate = Annotated[int, BeforeValidator(_whole(0, MOST_QUEUED))]
Retries = Annotated[int, BeforeValidator(_whole(0, MOST_RETRIES))]
Level = Annotated[str, AfterValidator(_one_of("DEBUG", "INFO", "WARNING", "ERROR"))]
Format = Annotated[str, AfterValidator(_one_of("text", "json"))]


class Settings(BaseModel):
    """The contract: each field is the variable of that name in capitals."""

    model_config = ConfigDict(frozen=True)

    tz: Zone | None = Field(None, description="time zone of CRON and of the logs (the machine's, where not set)")
    cron: Cron = Field("0 0 * * *", description="when to sync, as supercronic takes it")
    run_once: Flag = Field(default=False, description="one pass at once, then exit with its code")
    dry_run: Flag = Field(default=False, description="compare, say what would be copied, copy nothing")
    sleep_time: Seconds = Field(5, description="seconds to wait after an image was copied")
    retry_delay_time: Seconds = Field(5, description="seconds between attempts at one image")
    retries: Retries = Field(2, description="further attempts after the first")
    jobs: Width = Field(4, description="copies at once")
    probes: Width = Field(16, description="digest look-ups at once")
    copy_timeout: Limit = Field(3600, description="seconds after which a copy is ended and counts as failed")
    probe_timeout: Limit = Field(60, description="seconds after which a look-up is ended and counts as failed")
    trust_records: Seconds = Field(0, description="seconds for which a verified target is believed without asking it; 0: ask")
    config_file: Place | None = Field(None, description="accounts and images in one file (config.json, .yaml, .yml)")
    accounts_file: Place | None = Field(None, description="the accounts (accounts.json, .yaml, .yml, then auth.*)")
    images_file: Place | None = Field(None, description="the images (images.json, .yaml, .yml)")
    data_dir: Place = Field(Path("data"), description="where the lock, the records and report.json are kept")
    log_level: Level = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: Format = Field("text", description="text or json")
    no_color: Annotated[bool, BeforeValidator(bool)] = Field(default=False, description="anything: no colours on a terminal")
    crane: str | None = Field(None, description="the crane to use (the one make built, else the one on PATH)")
    supercronic: str | None = Field(None, description="likewise for supercronic")
    hook_listen: Listen = Field("0.0.0.0:8080", description="where the hook listens")
    hook_username: SecretStr | None = Field(None, description="who may call the hook, with HOOK_PASSWORD")
    hook_password: SecretStr | None = Field(None, description="the password of HOOK_USERNAME")
    hook_token: SecretStr | None = Field(
        None, description="for callers without a password: in a path or header, or GitHub's secret"
    )
    hook_cron: CronOrNothing = Field("*/10 * * * *", description="when what was hooked is synced; empty: with each full pass")
    hook_snapshots: Flag = Field(default=False, description="take tags that begin or end with SNAPSHOT too")
    hook_queue: Count = Field(10_000, description="images that may wait; then callers get 503")
    hook_rate: Rate = Field(100, description="calls a second from one address, ten seconds' worth at once; 0: any")
    alive_file: Place | None = Field(None, description="a file that a service touches each minute, for health checks")
    queue: Flag = Field(default=False, description="sync only what was hooked")


VARIABLES = tuple(name for name in Settings.model_fields if name != "queue")  # which is a flag alone
SECRETS = tuple(name for name in VARIABLES if name in {"hook_username", "hook_password", "hook_token"})


def load(argv: Sequence[str], mistakes: list[str], environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the flags `argv` and the variables `environ`.

    What is wrong is added to `mistakes`, one line each that begins with the variable or the flag;
    its default stands in, so that the files can be checked in the same run. `--help` and flags that
    are not known end the program as argparse does (0 and 2).
    """
    flags = {name: value for name, value in vars(_parser().parse_args(argv)).items() if value is not None}
    given: dict[str, Any] = {name: environ[name.upper()] for name in VARIABLES if name.upper() in environ} | flags
    for name in SECRETS:
        try:
            given[name] = secret_variable(name.upper(), environ)
            (given[name] or "").encode()
        except UnicodeEncodeError:
            mistakes.append(f"{name.upper()}: is not UTF-8; choose letters that are")
        except ValueError as error:
            mistakes.append(f"{name.upper()}: {error}")
        if not (given.get(name) or "").strip():  # compose files set what is not set to nothing
            given.pop(name, None)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        for details in error.errors():
            name = str(details["loc"][0])
            mistakes.append(f"{_flag_of(name) if name in flags else name.upper()}: {details['ctx']['error']}")
            del given[name]
        return Settings.model_validate(given)


def with_file(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """`settings`, with those `values` of a file that neither a flag, nor the environment, nor an earlier file gives."""
    return settings.model_copy(update={name: value for name, value in values.items() if name not in settings.model_fields_set})


def secret_variable(name: str, environ: Mapping[str, str]) -> str | None:
    """The value of the variable `name`, or of the file that `name`_FILE names (Docker secrets); None where neither is set.

    Raises ValueError, which shows no value, where both are set or the file cannot be read.
    """
    path = environ.get(f"{name}_FILE")
    if path is None:
        return environ.get(name)
    if name in environ:
        raise ValueError(f"{name} and {name}_FILE are both set; remove one")
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError):
        raise ValueError(f"the file in {name}_FILE cannot be read; correct it") from None


def terminal_is_dumb() -> bool:
    """Whether the terminal, as it says itself, can only add lines."""
    return os.environ.get("TERM", "dumb") == "dumb"


def process_environ() -> dict[str, str]:
    """This process's environment, for the programs that it starts."""
    return dict(os.environ)


def _flag_of(name: str) -> str:
    return "--" + name.removesuffix("_file").replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    fields = ((name, Settings.model_fields[name]) for name in VARIABLES)
    variables = [
        f"  {name.upper():17} {field.description}" + ("" if field.default in {None, False} else f" [{field.default}]")
        for name, field in fields
    ]
    parser = argparse.ArgumentParser(
        prog="sync.py",
        description="Make every target image equal to its source image, once.",
        epilog="environment (a flag wins over its variable, and both over a file):\n" + "\n".join(variables) + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, value in (("config_file", "FILE"), ("accounts_file", "FILE"), ("images_file", "FILE"), ("jobs", "N")):
        described = Settings.model_fields[name].description
        short = ("-c",) if name == "config_file" else ()
        parser.add_argument(*short, _flag_of(name), dest=name, metavar=value, help=f"{described} ({name.upper()})")
    described = f"{Settings.model_fields['dry_run'].description} (DRY_RUN)"
    parser.add_argument("--dry-run", action="store_const", const="true", help=described)
    parser.add_argument("--queue", action="store_const", const="true", help=Settings.model_fields["queue"].description)
    return parser
