"""What `fire/fuzz.py` has found: hostile texts of registries, numbers, paths and files."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from loguru import logger
from support import BUNDLE

from imageporter.config import files
from imageporter.config.command_line import load_settings
from imageporter.config.settings import Settings
from imageporter.registry.authenticator import LONGEST_LIFETIME, parse_token
from imageporter.registry.ca_bundle import build_ca_bundle, check_ca_variables
from imageporter.registry.errors import RegistryError
from imageporter.registry.redaction import SecretMasker
from imageporter.schedule.crontab import render
from imageporter.system import logs
from imageporter.system.errors import Problems
from imageporter.system.memory_files import in_memory, path_of
from imageporter.system.plain_log import PlainLog

BODY = 1 << 16  # characters, the most that crane prints of a response
PREFIX = "Error: GET https://a.example/v2/app/manifests/1: unexpected status code 400 Bad Request: "


def mask(text: str) -> object:
    return SecretMasker().mask(text)


def read(text: str) -> object:
    return RegistryError.from_crane_stderr("source", text, 1)


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (mask, "?token=" + ":" * BODY + "a"),
        (mask, "?" + "token" * (BODY // 5)),
        (mask, "?token=a:;" * (BODY // 10)),
        (read, PREFIX + "fatal error: " * (16 * BODY // 13)),
        (read, "Error: " + "https://" * (4 * BODY // 8)),
        (read, PREFIX + "x" * BODY + "; Ab http://" * (16 * BODY // 12)),
    ],
    ids=["a long value", "a long name", "many values", "many fatal errors", "many schemes", "many attempts"],
)
def test_a_registry_s_text_is_read_in_linear_time(reader: Callable[[str], object], text: str) -> None:
    """In quadratic time, each of them would block the event loop for seconds or minutes."""
    began = time.process_time()
    reader(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://a/?sig=abc", "https://a/?sig=***"),
        ("https://a/?sig=abc: denied", "https://a/?sig=***: denied"),
        ("https://a/?x=1&X-Amz-Signature=a.b;,. denied", "https://a/?x=1&X-Amz-Signature=***;,. denied"),
        ('"https://a/?token=a:b&key=c"', '"https://a/?token=***&key=***"'),
        ("https://a/?token=a?token=b", "https://a/?token=***"),
        ("https://a/?token=:;", "https://a/?token=:;"),
    ],
)
def test_values_of_signed_urls_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize("digits", [10, 400, 4000])
def test_a_token_may_claim_to_live_for_any_number_of_seconds(digits: int) -> None:
    assert parse_token(b'{"token": "abc", "expires_in": 1%s}' % (b"0" * digits)) == ("abc", LONGEST_LIFETIME)


def test_the_crontab_holds_a_path_that_is_no_text() -> None:
    descriptor = in_memory(render(Settings(data_dir=Path("/data\udcff"))))
    assert b"/data\xff/queue.db" in Path(path_of(descriptor)).read_bytes()
    os.close(descriptor)


@pytest.mark.parametrize("variable", ["DATA_DIR", "ALIVE_FILE", "IMAGES_FILE"])
def test_a_path_with_a_line_break_is_a_mistake(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the crontab it would begin another line."""
    monkeypatch.setenv(variable, "a\nb")
    problems = Problems()
    load_settings([], problems)
    assert list(problems) == [f"{variable}: has a line break in it; name another path"]


def test_json_that_is_nested_deeper_than_functions_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since Python 3.12, json reads it."""
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    monkeypatch.setattr(files, "read", lambda *_: nested)
    problems = Problems()
    path = tmp_path / "images.json"
    assert files.load_file(path, problems) is files.UNREADABLE
    assert list(problems) == [f"{path}: is nested too deeply"]


def test_a_working_directory_that_was_removed_is_a_mistake(tmp_path: Path) -> None:
    script = f"cd {tmp_path} && rmdir {tmp_path} && exec {sys.executable} {BUNDLE / 'sync.py'}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False)
    assert done.returncode == 2
    assert done.stdout.endswith(" ERROR   the working directory does not exist any more; change to one that does\n")


@pytest.mark.skipif(sys.platform != "linux", reason="Go reads SSL_CERT_FILE on Linux only")
def test_a_bundle_of_certificates_that_is_a_device_or_giant_is_a_mistake(tmp_path: Path) -> None:
    giant = tmp_path / "giant.pem"
    with open(giant, "wb") as file:
        file.truncate(100 << 20)
    problems = Problems()
    for path in ("/dev/zero", giant):
        check_ca_variables({"SSL_CERT_FILE": str(path)}, problems)
        assert build_ca_bundle({"SSL_CERT_FILE": str(path), "SSL_CERT_DIR": str(tmp_path)}, tmp_path) is None
    advice = "it needs PEM text, which begins with -----BEGIN CERTIFICATE-----"
    assert list(problems) == [
        "SSL_CERT_FILE: '/dev/zero' cannot be read: it is not a regular file; correct the path, or mount the file",
        f"SSL_CERT_FILE: {str(giant)!r} is larger than 32 MiB; {advice}",
    ]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_message_forges_a_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The name of a variable, a path and the location of a rule may hold a line break."""
    logs.configure(log_format=log_format)
    logger.warning("{} is ignored", "JO\nBS\x1b[2J\u2028")
    PlainLog("INFO", log_format, no_color=True).write("WARNING", "JO\nBS\x1b[2J\u2028 is ignored")
    first, second = capsys.readouterr().out.splitlines()
    assert "JO BS [2J is ignored" in first.replace("  ", " ")
    assert "JO BS [2J is ignored" in second.replace("  ", " ")
