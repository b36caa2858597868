"""A real browser, without a window."""

import json
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """Start Debian's chromium, with its files below `folder`. Without one, the test is skipped."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("there is no chromium with its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'browser'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def log_of(browser: webdriver.Chrome, name: str) -> list[dict[str, str]]:
    """The entries of one of its logs since it was asked last."""
    entries: list[dict[str, str]] = browser.get_log(name)  # type: ignore[no-untyped-call]
    return entries


def requested(browser: webdriver.Chrome) -> set[str]:
    """The hosts of all requests so far."""
    messages = (json.loads(entry["message"])["message"] for entry in log_of(browser, "performance"))
    urls = (one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent")
    return {urllib.parse.urlsplit(url).netloc.rpartition("@")[2] for url in urls if url.startswith("http")}
