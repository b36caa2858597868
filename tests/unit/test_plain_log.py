"""PlainLog writes what loguru writes, and to_plain_line removes control characters."""

import io
import json
import re
import sys

import pytest
from loguru import logger

from imageporter.system import logs
from imageporter.system.plain_log import PlainLog, to_plain_line

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Terminal(io.StringIO):
    """A stdout that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def without_time(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{3}[-+]\d\d:\d\d)?", "TIME", text)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("stdout", [io.StringIO, Terminal])
@pytest.mark.parametrize("no_color", [False, True])
def test_it_looks_like_the_other_log(
    level: str,
    log_format: str,
    stdout: type[io.StringIO],
    no_color: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = []
    for use_loguru in (True, False):
        output = stdout()
        monkeypatch.setattr(sys, "stdout", output)
        if use_loguru:
            logs.configure(level, log_format, no_color=no_color, dumb_terminal=True)
        log = PlainLog(level, log_format, no_color=no_color)
        for each in LEVELS:
            if use_loguru:
                logger.log(each, "{}", 'é "<red>" \x1b{}')
            else:
                log.write(each, 'é "<red>" \x1b{}')
        written.append(without_time(output.getvalue()))
    assert written[0] == written[1]
    assert written[1].count("TIME") == len(LEVELS) - LEVELS.index(level)


def test_the_time_has_an_offset_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    PlainLog("INFO", "json", no_color=False).write("INFO", "a message")
    row = json.loads(capsys.readouterr().out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[-+]\d\d:\d\d", row["timestamp"])


def test_a_line_that_cannot_be_written_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Broken())
    PlainLog("INFO", "text", no_color=False).write("INFO", "a message")
    monkeypatch.setattr(sys, "stdout", None)
    PlainLog("INFO", "text", no_color=False).write("INFO", "a message")


@pytest.mark.parametrize(
    ("text", "line"),
    [("plain", "plain"), (" a b\n", "a b"), ("a\n\t\x1b[31mb\0", "a [31mb"), ("\x00\x00", ""), ("é中", "é中")],
)
def test_to_plain_line(text: str, line: str) -> None:
    assert to_plain_line(text) == line
