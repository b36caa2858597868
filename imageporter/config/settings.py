"""The environment variables of the contract, read into Settings. The only module that reads `os.environ`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageporter.config import values
from imageporter.model.shard import MOST as MOST_SHARDS
from imageporter.model.shard import Shard
from imageporter.system.regular_files import TooLargeError, read_regular_file

if TYPE_CHECKING:
    from imageporter.system.errors import Problems

# Otherwise pydantic searches all installed distributions for plugins, at every start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

MAX_CONCURRENCY = 256
MAX_RETRIES = 1000
MAX_QUEUE_LIMIT = 1_000_000
LONGEST_SECRET = 1 << 16  # bytes

# The variables that every program of a pass gets.
FOR_TOOLS = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL"),
        *("GODEBUG", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GOTRACEBACK"),
    }
)
# Only programs that send requests get these, because the URL of a proxy may hold an account.
FOR_REQUESTS = frozenset(
    {
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("RES_OPTIONS", "LOCALDOMAIN"),  # of the resolver
    }
)
SHORT_NAME = 5  # letters


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret value, which no repr, log line or traceback shows."""

    value: str = field(repr=False)


_CONCURRENCY = values.whole_number(1, MAX_CONCURRENCY)


def _setting(default: Any, parse: Callable[[str], Any], description: str, variable: str = "") -> Any:
    """Declare a setting: its default, the function that reads its text, and what `--help` says about it."""
    return field(default=default, metadata={"parse": parse, "description": description, "variable": variable})


@dataclass(frozen=True)
class Settings:
    """The contract: each field is the variable of the same name in capitals, unless it names another.

    `given` are the fields that a flag or the environment has set.
    """

    tz: str | None = _setting(None, values.time_zone, "time zone of CRON and of the logs (default: the machine's)")
    cron: str = _setting("0 0 * * *", values.cron, "when to sync; anything supercronic accepts")
    run_once: bool = _setting(False, values.boolean, "run one pass immediately, then exit with its code")
    run_at_start: bool = _setting(False, values.boolean, "run one pass immediately, then follow CRON")
    dry_run: bool = _setting(False, values.boolean, "compare and report what would be copied; copy nothing")
    sleep_time: float = _setting(5, values.seconds, "seconds to wait after copying an image, if more may follow")
    retry_delay_time: float = _setting(5, values.seconds, "seconds between attempts for one image")
    retries: int = _setting(2, values.whole_number(0, MAX_RETRIES), "further attempts after the first")
    jobs: int = _setting(4, _CONCURRENCY, "concurrent copies")
    probes: int = _setting(32, _CONCURRENCY, "concurrent digest look-ups")
    fast_lookups: bool = _setting(True, values.boolean, "look up digests in this process; false runs crane for each")
    copy_timeout: float = _setting(3600, values.time_limit, "seconds after which a copy is terminated and fails")
    probe_timeout: float = _setting(60, values.time_limit, "seconds after which a look-up is terminated and fails")
    stall_timeout: float = _setting(
        120, values.time_limit, "seconds without a byte read or written after which a copy is terminated and fails"
    )
    trust_records: float = _setting(
        0, values.seconds, "skip checking targets verified within this many seconds; 0: always check"
    )
    config_file: Path | None = _setting(None, values.path, "accounts and images in one file (config.json, .yaml, .yml)")
    accounts_file: Path | None = _setting(None, values.path, "the accounts (accounts.json, .yaml, .yml, then auth.*)")
    images_file: Path | None = _setting(None, values.path, "the images (images.json, .yaml, .yml)")
    data_dir: Path = _setting(Path("data"), values.path, "directory of the locks, the records, the queue and report.json")
    shard: Shard | None = _setting(None, values.shard, "sync only this share of the images, like 2/8: the second of eight")
    shards: int | None = _setting(
        None, values.whole_number(1, MOST_SHARDS), "how many shards there are; JOB_COMPLETION_INDEX then says which this is"
    )
    job_completion_index: int | None = _setting(
        None, values.whole_number(0, MOST_SHARDS - 1), "the shard's number from 0, which Kubernetes sets in an Indexed Job"
    )
    log_level: str = _setting("INFO", values.one_of("DEBUG", "INFO", "WARNING", "ERROR"), "DEBUG, INFO, WARNING or ERROR")
    log_format: str = _setting("text", values.one_of("text", "json"), "text or json")
    no_color: bool = _setting(False, values.is_set, "any value: no colours on a terminal")
    crane: str | None = _setting(
        None, values.text_as_it_is, "the crane to use (default: the one make built, else the one on PATH)"
    )
    cosign: str | None = _setting(None, values.text_as_it_is, "likewise for cosign, which `signed` needs")
    supercronic: str | None = _setting(None, values.text_as_it_is, "likewise for supercronic")
    hook_listen: str = _setting("0.0.0.0:8080", values.listen_address, "address on which the webhook receiver listens")
    hook_username: Secret | None = _setting(None, Secret, "user who may call the webhook receiver, with HOOK_PASSWORD")
    hook_password: Secret | None = _setting(None, Secret, "the password of HOOK_USERNAME")
    hook_token: Secret | None = _setting(
        None, Secret, "for callers without a password: in a path or header, or GitHub's secret"
    )
    hook_cron: str = _setting(
        "*/10 * * * *", values.cron_or_nothing, "when queued pushes are synced; empty: with each full pass"
    )
    hook_snapshots: bool = _setting(False, values.boolean, "accept tags that begin or end with SNAPSHOT, too")
    hook_queue_limit: int = _setting(
        10_000, values.whole_number(1, MAX_QUEUE_LIMIT), "images that may be queued; beyond it callers get 503", "HOOK_QUEUE"
    )
    hook_rate: int = _setting(
        100,
        values.whole_number(0, MAX_QUEUE_LIMIT),
        "requests per second from one address, ten seconds' worth at once; 0: unlimited",
    )
    notify_urls: Secret | None = _setting(
        None, Secret, "apprise URLs (mailto://, slack://, ntfy://, ...), separated by spaces, to notify"
    )
    notify_on: frozenset[str] = _setting(
        frozenset({"failure", "recovery"}),
        values.some_of("failure", "recovery", "change", "always"),
        "which passes send a notification: failure, recovery, change (an image was copied), always",
    )
    ping_url: Secret | None = _setting(
        None,
        Secret,
        "URL to ping at start and end of each pass (healthchecks.io); with {status} in it: of a push monitor of Uptime Kuma",
    )
    metrics_file: Path | None = _setting(
        None, values.path, "Prometheus metrics, written after each run for node_exporter's textfile collector"
    )
    metrics_per_image: bool = _setting(False, values.boolean, "metrics of each image, too")
    report_html: bool = _setting(False, values.boolean, "write report.html next to report.json, too")
    alive_file: Path | None = _setting(None, values.path, "file that a service touches every minute, for health checks")
    queue_only: bool = _setting(False, values.boolean, "sync only the queued pushes", "--queue")
    scheduled: bool = _setting(
        False, values.boolean, "run by the schedule, which has logged its warnings itself", "--scheduled"
    )
    explain: str | None = _setting(
        None, values.image_or_nothing, "show which tags each rule takes, or what it does with IMAGE, and exit", "--explain"
    )
    notify_test: bool = _setting(False, values.boolean, "send a test to NOTIFY_URLS, and exit", "--notify-test")
    image_arguments: tuple[str, ...] = _setting((), tuple, "sources and targets, in place of an images file", "--")
    given: frozenset[str] = frozenset()

    @property
    def state_dir(self) -> Path:
        """The directory of the locks, the records and the reports: each shard has its own. The queue is one for all."""
        return self.data_dir / self.shard.directory if self.shard else self.data_dir


@dataclass(frozen=True)
class Variable:
    """An environment variable of the contract: its name, the field of Settings, its default and its description."""

    name: str
    field: str
    default: Any
    parse: Callable[[str], Any]
    description: str

    @property
    def is_secret(self) -> bool:
        """Whether it holds a secret, and so also exists with `_FILE` appended."""
        return self.parse is Secret


def _variable(one: Any) -> Variable:
    meta = one.metadata
    return Variable(meta["variable"] or one.name.upper(), one.name, one.default, meta["parse"], meta["description"])


OPTIONS = {one.name: _variable(one) for one in fields(Settings) if one.metadata}
VARIABLES = {option.name: option for option in OPTIONS.values() if not option.name.startswith("-")}


def read_settings(flags: Mapping[str, Any], problems: "Problems", environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the command line's `flags` (field: text) and the variables `environ`. Flags win.

    Each mistake is added to `problems`, at its variable or flag. The default takes its place, so that the files can be
    checked in the same run.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS.values():
        flag = option.field in flags
        name = flag_of(option.field) if flag else option.name
        try:
            if option.is_secret:
                text = read_secret(option.name, environ)
                if text is None or not text.strip():  # compose files set unset variables to nothing
                    continue
                text.encode()
            elif flag or option.name in environ:
                text = flags[option.field] if flag else environ[option.name]
            else:
                continue
            values[option.field] = option.parse(text)
        except UnicodeEncodeError:
            problems.add(name, "is not UTF-8; choose letters that are")
        except ValueError as error:
            problems.add(name, str(error))
    return Settings(**values, given=frozenset(values))


def misspelt_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables in `environ` that are not of the contract, but look like one of it: {`JOB`: `JOBS`}."""
    from difflib import get_close_matches  # noqa: PLC0415 (sync.py --help does not pay for it)

    known = {*VARIABLES, *(f"{name}_FILE" for name, variable in VARIABLES.items() if variable.is_secret)}
    found = {}
    for name in sorted(environ.keys() - known):
        # The accounts of others are named like those of the hook (HUB_TOKEN), so the whole prefix must be there.
        prefix = "HOOK" if name.startswith("HOOK") else name[:1]
        similar = [one for one in known if one.startswith(prefix) and (prefix == "HOOK") == one.startswith("HOOK")]
        # One wrong letter of four is a difference of a quarter.
        if matches := get_close_matches(
            name, similar, 1, 0.75 if len(name) <= SHORT_NAME else 0.8 if prefix == "HOOK" else 0.85
        ):
            found[name] = matches[0]
    return found


def flag_of(field_name: str) -> str:
    """Return the command line's flag for a field of Settings: `--images` for `images_file`."""
    return "--" + field_name.removesuffix("_file").removesuffix("_only").replace("_", "-")


def with_file_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return `settings` with the `values` of a file, except those that a flag or the environment gives."""
    return replace(settings, **{name: value for name, value in values.items() if name not in settings.given})


def read_secret(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the variable `name`, or the content of the file in `name`_FILE (Docker secrets); None if neither is set.

    Raises ValueError, which shows no value, if both are set or the file cannot be read.
    """
    path = environ.get(f"{name}_FILE")
    if path is None:
        return environ.get(name)
    if name in environ:
        raise ValueError(f"{name} and {name}_FILE are both set; remove one")
    try:
        content = read_regular_file(Path(path), LONGEST_SECRET).decode()
        return content.removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError, TooLargeError):
        raise ValueError(f"the file in {name}_FILE cannot be read; correct it") from None


def configure_logs(settings: Settings) -> None:
    """Send the log where, and as, `settings` and the terminal say."""
    from imageporter.system import logs  # noqa: PLC0415 (sync.py --help does not pay for it)

    # A dumb terminal can only append lines.
    is_dumb = os.environ.get("TERM", "dumb") == "dumb"
    logs.configure(settings.log_level, settings.log_format, no_color=settings.no_color, dumb_terminal=is_dumb)


def process_environ() -> dict[str, str]:
    """Return this process's environment."""
    return dict(os.environ)


def tool_environ(*, requests: bool) -> dict[str, str]:
    """Return what crane and supercronic need of this process's environment: no account of a registry or the hook is in it.

    `requests` is whether the program is started to send requests. Only then it gets the proxies, whose URLs may hold accounts.
    TZ is not among it: a value that is no time zone may be a password in the wrong place.
    """
    needed = FOR_TOOLS | FOR_REQUESTS if requests else FOR_TOOLS
    return {name: value for name, value in os.environ.items() if name.upper() in needed}
