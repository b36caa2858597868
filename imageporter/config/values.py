"""Parsing the text of a setting. Each function returns the value, or raises ValueError; the text can follow "NAME: "."""

import math
import re
from collections.abc import Callable
from pathlib import Path

from imageporter.model import reference
from imageporter.model import shard as shard_model
from imageporter.model.shard import Shard

LONGEST_WAIT = 366 * 24 * 3600  # seconds

# A number, a short word, a time zone, an address with its port.
_HARMLESS = re.compile(
    r".{0,3}|[-+0-9.,_ smhd]{0,12}|[A-Za-z]{0,5}"
    r"|[A-Z][a-z]+(?:/[A-Z][A-Za-z_]+){1,2}|(?:[0-9A-Fa-f.:\[\]]*|localhost):[0-9]{0,6}"
)
_NAME_OF_A_TIME = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun"
_FIELD = re.compile(
    rf".{{0,3}}|@[a-z]{{1,10}}|(?:{_NAME_OF_A_TIME}|[0-9]{{1,4}}|[*?L])(?:[-,/#W](?:{_NAME_OF_A_TIME}|[0-9]{{0,4}}))*",
    re.IGNORECASE,
)


def _shown(text: str) -> str:
    """Return `text` as an error may show it. What looks neither like a value nor like a short word may be a password."""
    return repr(text) if _HARMLESS.fullmatch(text) else f"a text of {len(text)} characters"


def schedule_shown(text: str) -> str:
    """Return `text`, which should be a schedule, as an error may show it: if each field is short, or looks like one."""
    return repr(text) if all(map(_FIELD.fullmatch, text.split())) else f"a text of {len(text)} characters"


def boolean(text: str) -> bool:
    """Parse true, 1, yes, false, 0 or no."""
    word = text.strip().lower()
    if word not in {"true", "1", "yes", "false", "0", "no"}:
        raise ValueError(f"{_shown(text)} is neither true nor false; write true or false (1, 0, yes and no are fine too)")
    return word in {"true", "1", "yes"}


def seconds(text: str) -> float:
    """Parse a number of seconds, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LONGEST_WAIT:
        raise ValueError(f"{_shown(text)} is not a number of seconds; write 0 or more, like 5 or 0.5")
    return number


def time_limit(text: str) -> float:
    """Parse a number of seconds above 0."""
    limit = seconds(text)
    if limit == 0:
        raise ValueError("'0' would end every call at once; write a number of seconds above 0")
    return limit


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` to `most`."""

    def validate(text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 10 and least <= int(digits) <= most):
            raise ValueError(f"{_shown(text)} is not a whole number from {least} to {most}")
        return int(digits)

    return validate


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser of one of `words`, in any case."""

    def validate(text: str) -> str:
        word = next((word for word in words if word.lower() == text.strip().lower()), None)
        if word is None:
            raise ValueError(f"{_shown(text)} is not known; write {', '.join(words[:-1])} or {words[-1]}")
        return word

    return validate


def some_of(*words: str) -> Callable[[str], frozenset[str]]:
    """Return a parser of some of `words`, with commas or blanks between them, in any case."""

    def validate(text: str) -> frozenset[str]:
        from difflib import get_close_matches  # noqa: PLC0415 (sync.py --help does not pay for it)

        given = text.lower().replace(",", " ").split()
        if unknown := next((word for word in given if word not in words), None):
            similar = get_close_matches(unknown, words, 1, 0.75)
            meant = f" (did you mean {similar[0]}?)" if similar else ""
            raise ValueError(f"{_shown(unknown)} is not known{meant}; write some of {', '.join(words)}")
        if not given:
            raise ValueError(f"is empty; write some of {', '.join(words)}")
        return frozenset(given)

    return validate


def shard(text: str) -> Shard:
    """Parse `2/8`."""
    found = shard_model.parse(text)
    if found is None:
        raise ValueError(f"{_shown(text)} is not a shard; write its number and how many there are, like 2/8")
    return found


def path(text: str) -> Path:
    """Parse a path, which may begin with `~`."""
    if not text.strip():
        raise ValueError("is empty; give a path, or leave it out")
    if "\n" in text:  # the crontab has a line for each run
        raise ValueError("has a line break in it; name another path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r} begins with the home of a user who does not exist") from None


def time_zone(text: str) -> str:
    """Parse the name of a time zone."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 (slow to import, and TZ is rarely set on a bare host)

    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{_shown(text)} is not a time zone; write a name like Asia/Shanghai or UTC") from None
    return text


def cron(text: str) -> str:
    """Parse one line; supercronic decides whether it is a schedule."""
    if not text.strip() or len(text.strip().splitlines()) > 1:
        raise ValueError(f"{schedule_shown(text)} is not a schedule; write one line, like '0 0 * * *'")
    return text.strip()


def cron_or_nothing(text: str) -> str:
    """Parse one line, or nothing."""
    return cron(text) if text.strip() else ""


def listen_address(text: str) -> str:
    """Parse `host:port`; no host means every address."""
    host, colon, port = text.strip().rpartition(":")
    known = re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*", host)
    if not (colon and known and re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 1 << 16):
        raise ValueError(f"{_shown(text)} is not an address to listen on; write one like 0.0.0.0:8080 or [::]:8080")
    return f"{host or '0.0.0.0'}:{int(port)}"  # noqa: S104 (the user's choice)


def text_as_it_is(text: str) -> str:
    """Return the text."""
    return text


def is_set(text: str) -> bool:
    """Return whether there is a text."""
    return bool(text)


def image_or_nothing(text: str) -> str:
    """Parse an image reference, or the empty string."""
    if text:
        reference.parse(text)
    return text
