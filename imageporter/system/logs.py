"""Logging: loguru in front; text lines for people, or JSON lines through python-json-logger (LOG_FORMAT=json)."""

import io
import logging
import os
import shutil
import sys
import threading
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from loguru import logger

from imageporter.system.plain_log import to_plain_line

if TYPE_CHECKING:
    from loguru import Record

TEXT = "<dim>{time:YYYY-MM-DD HH:mm:ss}</dim> <level>{level: <7}</level> {message}\n"


ERASE = "\r\x1b[K"


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 (only LOG_FORMAT=json pays for it)

    class Formatter(JsonFormatter):
        """One object per line: timestamp (RFC 3339 with offset), level, message, and the event with its keys."""

        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:  # noqa: ARG002 (the base class's)
            log_data["timestamp"] = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
            log_data["level"] = record.levelname
            log_data["message"] = record.getMessage()
            log_data.update(getattr(record, "extra", {}))
            if record.exc_info:
                log_data["traceback"] = self.formatException(record.exc_info)

    return Formatter(json_ensure_ascii=False)


class _Stdout:
    """stdout, while it accepts anything: a pass continues if the log's reader (`| head`) is gone or the disk is full.

    Its last line may be a live line, which stays below everything else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live = ""

    def write(self, text: str) -> None:
        """Write `text` above the live line."""
        with self._lock:
            self._write(f"{ERASE}{text}{self._live}" if self._live else text)

    def live(self, text: str) -> None:
        """Make `text`, cut to the terminal's width, the live line."""
        with self._lock:
            text = text[: shutil.get_terminal_size().columns - 1]
            if text != self._live:
                self._live = text
                self._write(f"{ERASE}{text}")

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def _write(self, text: str) -> None:
        """Write `text`. After the first failure, which is reported on stderr, everything is dropped."""
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


def configure(level: str = "INFO", log_format: str = "text", *, no_color: bool = False, dumb_terminal: bool = False) -> None:
    """Send every log line of at least `level` to stdout, as `text` or `json`. Another call starts afresh."""
    logger.remove()
    logger.configure(patcher=_make_plain)
    _stdout.clear()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file may hold what no terminal can show
    # `diagnose` would print the values of variables, passwords included, in tracebacks.
    common: dict[str, Any] = {"level": level, "diagnose": False, "backtrace": False}
    if log_format == "json":
        handler = logging.StreamHandler(_Stdout())
        handler.setFormatter(_json_formatter())
        logger.add(handler, format="{message}", **common)
    else:
        terminal = sys.stdout is not None and sys.stdout.isatty()
        stdout = _Stdout()
        logger.add(stdout, format=_text, colorize=terminal and not no_color, **common)
        if terminal and level in {"DEBUG", "INFO"} and not dumb_terminal:
            _stdout.append(stdout)


def has_live_line() -> bool:
    """Return whether the log goes to a terminal, where a line can change."""
    return bool(_stdout)


def show_live_line(text: str) -> None:
    """Show `text` below the log, if the log has a live line. The empty text removes it."""
    for stdout in _stdout:
        stdout.live(text)


def log_event(name: str, message: str, level: str = "INFO", **keys: str | float | None) -> None:
    """Log the event `name` with its keys; keys that are None are left out."""
    present = {key: value for key, value in keys.items() if value is not None}
    logger.bind(event=name, **present).log(level, message)


def log_bug(error: Exception) -> None:
    """Log a bug in ImagePorter: one line, and its traceback at DEBUG."""
    logger.error("unexpected {}; this is a bug in ImagePorter (LOG_LEVEL=DEBUG shows where)", type(error).__name__)
    logger.opt(exception=error).debug("the traceback:")


def _make_plain(record: "Record") -> None:
    """Make the message one line: a path or the name of a variable in it may hold anything."""
    record["message"] = to_plain_line(record["message"])


def _text(record: "Record") -> str:
    return TEXT + ("{exception}\n" if record["exception"] else "")
