"""loguru in front; lines for people, or python-json-logger's JSON lines behind LOG_FORMAT=json."""

import io
import logging
import os
import re
import sys
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from loguru import logger
from pythonjsonlogger.json import JsonFormatter

from imageporter.settings import Settings

if TYPE_CHECKING:
    from loguru import Record

TEXT = "<dim>{time:YYYY-MM-DD HH:mm:ss}</dim> <level>{level: <7}</level> {message}\n"


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
    """stdout, as long as it takes anything: a pass goes on when the log's reader (`| head`) is gone, or its disk is full."""

    def write(self, text: str) -> None:
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


def configure(settings: Settings) -> None:
    """Send every log line to stdout, as `settings` say. Called again, it starts afresh."""
    logger.remove()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file may hold what no terminal can show
    # `diagnose` would print the values of variables, passwords too, into tracebacks.
    common: dict[str, Any] = {"level": settings.log_level, "diagnose": False, "backtrace": False}
    if settings.log_format == "json":
        handler = logging.StreamHandler(_Stdout())
        handler.setFormatter(_Formatter(json_ensure_ascii=False))
        logger.add(handler, format="{message}", **common)
    else:
        colours = sys.stdout is not None and sys.stdout.isatty() and not settings.no_color
        logger.add(_Stdout(), format=_text, colorize=colours, **common)


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
