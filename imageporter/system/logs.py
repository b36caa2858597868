"""loguru in front; lines for people, or python-json-logger's JSON lines behind LOG_FORMAT=json."""

import io
import logging
import os
import re
import shutil
import sys
import threading
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from loguru import logger
from pythonjsonlogger.json import JsonFormatter

from imageporter.config.settings import Settings, terminal_is_dumb

if TYPE_CHECKING:
    from loguru import Record

TEXT = "<dim>{time:YYYY-MM-DD HH:mm:ss}</dim> <level>{level: <7}</level> {message}\n"


ERASE = "\r\x1b[K"


class _Formatter(JsonFormatter):
    """One object a line: timestamp (RFC 3339 with offset), level, message, and the event with its keys."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:  # noqa: ARG002 (the base class's)
        log_data["timestamp"] = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname
        log_data["message"] = record.getMessage()
        log_data.update(getattr(record, "extra", {}))
        if record.exc_info:
            log_data["traceback"] = self.formatException(record.exc_info)


class _Stdout:
    """stdout, as long as it takes anything: a pass goes on when the log's reader (`| head`) is gone, or its disk is full.

    Its last line may be a live one, which stays below what is written.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live = ""

    def write(self, text: str) -> None:
        """Write `text` above the live line."""
        with self._lock:
            self._write(f"{ERASE}{text}{self._live}" if self._live else text)

    def live(self, text: str) -> None:
        """Make `text`, as far as it fits, the live line."""
        with self._lock:
            text = text[: shutil.get_terminal_size().columns - 1]
            if text != self._live:
                self._live = text
                self._write(f"{ERASE}{text}")

    def flush(self) -> None:
        """Nothing is kept back."""

    def _write(self, text: str) -> None:
        """Write `text`, or drop it; from the first failure on, which stderr tells, everything is dropped."""
        try:
            if sys.stdout is not None:  # it was closed before the start
                sys.stdout.write(text)
                sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError) and sys.stderr is not None:
                with suppress(OSError):
                    sys.stderr.write(f"the log cannot be written any more: {error.strerror}\n")


_stdout: list[_Stdout] = []  # the one with a live line, if there is one


def configure(settings: Settings) -> None:
    """Send every log line to stdout, as `settings` say. Called again, it starts afresh."""
    logger.remove()
    _stdout.clear()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file may hold what no terminal can show
    # `diagnose` would print the values of variables, passwords too, into tracebacks.
    common: dict[str, Any] = {"level": settings.log_level, "diagnose": False, "backtrace": False}
    if settings.log_format == "json":
        handler = logging.StreamHandler(_Stdout())
        handler.setFormatter(_Formatter(json_ensure_ascii=False))
        logger.add(handler, format="{message}", **common)
    else:
        terminal = sys.stdout is not None and sys.stdout.isatty()
        stdout = _Stdout()
        logger.add(stdout, format=_text, colorize=terminal and not settings.no_color, **common)
        if terminal and settings.log_level in {"DEBUG", "INFO"} and not terminal_is_dumb():
            _stdout.append(stdout)


def has_live_line() -> bool:
    """Whether the log goes to a terminal, where a line can change."""
    return bool(_stdout)


def live(text: str) -> None:
    """Show `text` below the log, where it has a live line; the empty text takes it away."""
    for stdout in _stdout:
        stdout.live(text)


def event(name: str, message: str, level: str = "INFO", **keys: str | float | None) -> None:
    """Log the event `name` with its keys; those that are None are left out."""
    present = {key: value for key, value in keys.items() if value is not None}
    logger.bind(event=name, **present).log(level, message)


def bug(error: Exception) -> None:
    """Log an error of ours: one line, and its traceback at DEBUG."""
    logger.error("unexpected {}; this is a mistake of ImagePorter's (LOG_LEVEL=DEBUG shows where)", type(error).__name__)
    logger.opt(exception=error).debug("where it happened:")


def plain(text: str) -> str:
    """`text` as one line without control characters, fit for a log that a terminal shows."""
    return re.sub("\0+", " ", "".join(letter if letter.isprintable() else "\0" for letter in text)).strip()


def _text(record: "Record") -> str:
    return TEXT + ("{exception}\n" if record["exception"] else "")
