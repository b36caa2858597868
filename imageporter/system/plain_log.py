"""Log lines that look like those of `logs`, written without loguru, which costs 14 MB of memory; and plain text for a line."""

import json
import re
import sys
from datetime import datetime

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"DEBUG": "\x1b[34m", "INFO": "", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}


class PlainLog:
    """Writes every line of at least `level` to stdout, as `text` or `json`. What cannot be written is dropped."""

    def __init__(self, level: str, log_format: str, *, no_color: bool) -> None:
        self._levels = _LEVELS[_LEVELS.index(level) :]
        self._is_json = log_format == "json"
        self._has_colours = not no_color and sys.stdout is not None and sys.stdout.isatty()

    def write(self, level: str, message: str) -> None:
        """Log one line. Threads may call this: a line is written at once."""
        if level not in self._levels or sys.stdout is None:
            return
        try:
            sys.stdout.write(self._format(level, to_plain_line(message)) + "\n")
            sys.stdout.flush()
        except OSError:  # the reader of the log is gone, or the disk is full
            pass

    def _format(self, level: str, message: str) -> str:
        now = datetime.now().astimezone()
        if self._is_json:
            row = {"timestamp": now.isoformat(timespec="milliseconds"), "level": level, "message": message}
            return json.dumps(row, ensure_ascii=False)
        time = f"{now:%Y-%m-%d %H:%M:%S}"
        if self._has_colours:
            return f"{_DIM}{time}{_RESET} {_COLOURS[level]}{_BOLD}{level: <7}{_RESET} {message}"
        return f"{time} {level: <7} {message}"


def to_plain_line(text: str) -> str:
    """Return `text` as one line without control characters, safe to show on a terminal."""
    if text.isprintable():
        return text.strip()
    return re.sub("\0+", " ", "".join(letter if letter.isprintable() else "\0" for letter in text)).strip()
