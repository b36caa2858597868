"""The status page: what it shows, its buttons, and a real browser."""

import html
import json
import os
import re
import sqlite3
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from browser import chromium, log_of, requested
from jsonschema import Draft202012Validator
from selenium import webdriver
from selenium.webdriver.common.by import By
from support import BUNDLE, Hook, Registry, User, wait_for

from imageporter.store import records

PICTURES = BUNDLE / "docs" / "pictures"


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


def post(hook: Hook, headers: Mapping[str, str] = {}, **form: str) -> tuple[int, str]:
    """Press a button; gives the status, and where it leads or what is wrong."""
    given = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    status, text, answered = hook.request("/sync", "POST", urllib.parse.urlencode(form).encode(), given)
    return status, answered.get("location") or text


def rows(page: str) -> list[str]:
    """The rows of the table, as text."""
    found = re.findall(r"<tr><td>(.*?)</tr>", page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", row)).split()) for row in found]


def queued(user: User) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(user.folder / "data" / "queue.db")) as database:
        return database.execute("SELECT source, target FROM waiting ORDER BY target").fetchall()


@pytest.fixture
def synced(user: User, source: Registry, target: Registry) -> User:
    """A user after a pass with one copied, one skipped and one failed image."""
    source.push("app:1")
    source.push("old:1")
    user.images((f"{source}/old:1", f"{target}/old:1"))
    assert user.sync().code == 0
    pairs = [(f"{source}/{name}:1", f"{target}/{name}:1") for name in ("app", "old", "zoo")]
    user.images(*pairs)
    assert user.sync().code == 1
    return user


def test_what_it_shows(synced: User, source: Registry, target: Registry) -> None:
    with Hook.of(synced) as hook:
        assert hook.text("/", account=None)[0] == 401
        status, page, headers = hook.request("/")
        assert status == 200
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        shown = rows(page)
        assert [row.split()[0] for row in shown] == [f"{target}/{name}:1" for name in ("zoo", "app", "old")], "failures first"
        failure = rf"{target}/zoo:1 {source}/zoo:1 source not found: GET .* failed .* s since 20\d\d-[-:0-9 ]* Sync now"
        assert re.fullmatch(failure, shown[0])
        digest = source.digest("app:1")
        assert re.fullmatch(rf"{target}/app:1 {source}/app:1 copied .* s {digest[7:19]} 20.* 20.* Sync now", shown[1])
        assert '<p class="verdict failed">1 of 3 images failed, 1 copied</p>' in page
        assert "<title>(1) ImagePorter</title>" in page
        assert [row.split()[0] for row in rows(hook.text("/?q=APP")[1])] == [f"{target}/app:1"]
        assert [row.split()[0] for row in rows(hook.text("/?outcome=skipped")[1])] == [f"{target}/old:1"]
        assert rows(hook.text("/?q=%25")[1]) == ["No image."]
        assert hook.text("/?page=99999999999999999999&outcome=%00&q=%ff")[0] == 200
        chinese = hook.text("/", headers={"Accept-Language": "de, zh-CN;q=0.9, en;q=0.8"})[1]
        assert '<html lang="zh-CN">' in chinese
        assert "上次同步" in chinese
        assert "Last pass" not in chinese


@pytest.mark.parametrize(
    "report",
    [
        None,
        {"exit_code": 0, "copied": 1},
        {"next_pass": "2026-11-01T00:00:00+08:00"},
        {"exit_code": "x", "copied": None, "pulls_left": {"a": "b"}, "interrupted": "x", "problems": 5, "finished": 7},
        "junk",
        "[" * 200_000,
    ],
)
def test_before_the_first_pass_and_with_an_odd_report(user: User, report: object) -> None:
    user.write("images.json", [])
    (user.folder / "data").mkdir()
    if report is not None:
        user.write("data/report.json", report)
    with Hook.of(user) as hook:
        status, page = hook.text("/")
        assert (status, rows(page)) == (200, ["No image."])
        if isinstance(report, dict) and "finished" not in report:
            assert "none yet" not in page
        assert hook.text(f"/?page={'9' * 5000}")[0] == 200
        assert hook.text("/status")[0] == 200
        assert ("overdue" in page) == (isinstance(report, dict) and "next_pass" in report)
        assert hook.text("/metrics")[0] == 200


def test_the_next_pass_of_a_schedule(user: User) -> None:
    user.write("images.json", [])
    assert user.sync("--scheduled", CRON="0 0 1 1 *", TZ="Asia/Shanghai").code == 0
    report = json.loads((user.folder / "data" / "report.json").read_text())
    assert re.fullmatch(r"20\d\d-01-01T00:00:00\+08:00", report["next_pass"])
    with Hook.of(user, TZ="Asia/Shanghai") as hook:
        assert f"<dt>Next pass</dt><dd>{report['next_pass'][:10]} 00:00:00</dd>" in hook.text("/")[1]
    assert user.sync().code == 0
    by_hand = json.loads((user.folder / "data" / "report.json").read_text())
    assert by_hand["next_pass"] == report["next_pass"]


def test_what_registries_and_files_say_is_text_and_no_html(user: User, source: Registry, target: Registry) -> None:
    user.images((f"{source}/gone:1", f"{target}/gone:1"))
    assert user.sync(REPORT_HTML="true").code == 1
    with closing(sqlite3.connect(user.folder / "data" / records.FILE)) as database, database:
        database.execute("UPDATE images SET error = ?", ("<script>alert(1)</script>",))
    with Hook.of(user) as hook:
        page = hook.text("/?q=<script>")[1] + hook.text("/")[1]
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_buttons(synced: User, source: Registry, target: Registry) -> None:
    pairs = [(f"{source}/{name}:1", f"{target}/{name}:1") for name in ("app", "old", "zoo")]
    with Hook.of(synced) as hook:
        token = token_of(hook.text("/")[1])
        stale = '{"error":"this form is too old, or not from this page; load the page again"}'
        assert post(hook, token="0" * 64, all="1") == (403, stale)
        assert post(hook, all="1") == (403, stale)
        other_site = '{"error":"a page of another site may not call"}'
        assert post(hook, {"Sec-Fetch-Site": "cross-site"}, token=token, all="1") == (403, other_site)
        assert hook.request("/sync", "POST", b"", account=None)[0] == 401
        assert post(hook, token=token) == (400, '{"error":"the form names no image"}')
        assert queued(synced) == []

        assert post(hook, token=token, target=pairs[2][1]) == (303, "./?queued=1")
        assert queued(synced) == [pairs[2]]
        assert f"hook: 303 to 127.0.0.1: queued {pairs[2][0]} -> {pairs[2][1]}" in hook.running.output
        assert re.search(r" queued 20\d\d-[-:0-9 ]*$", rows(hook.text("/")[1])[0]), "in place of its button"
        assert post(hook, token=token, target="nowhere.example/x:1") == (303, "./?missing=1")
        assert "hook: 303 to 127.0.0.1: no rule has this image, or only a full pass can sync it" in hook.running.output
        assert hook.request("/sync")[2]["location"] == "./", "a reload leads back"
        assert post(hook, token=token, all="1") == (303, "./?queued=3")
        assert queued(synced) == pairs
        page = hook.text("/?queued=3")[1]
        assert '<p class="note">Queued: 3. The next queue run or the next full pass syncs them.</p>' in page
    source.push("zoo:1")
    run = synced.sync("--queue")
    assert (run.code, run.outcomes[pairs[2][1]]) == (0, "copied")
    assert queued(synced) == []
    assert target.digest("zoo:1") == source.digest("zoo:1")


def test_the_buttons_follow_the_rules(user: User, source: Registry, target: Registry) -> None:
    """The page shows what the last pass has seen, but a rule may be gone since, or have other options."""
    source.push("app:1")
    source.push("old:1")
    user.images((f"{source}/app:1", f"{target}/app:1"), (f"{source}/old:1", f"{target}/old:1"))
    assert user.sync().code == 0
    user.write("images.json", [{"source": f"{source}/app:1", "target": f"{target}/app:1", "referrers": True}])
    with Hook.of(user) as hook:
        token = token_of(hook.text("/")[1])
        assert post(hook, token=token, target=f"{target}/old:1") == (303, "./?missing=1")
        assert post(hook, token=token, all="1") == (303, "./?queued=1")
    assert queued(user) == [(f"{source}/app:1 +referrers", f"{target}/app:1")]


def test_a_second_image_for_a_target_cannot_be_queued(user: User, source: Registry, target: Registry) -> None:
    first = source.push("first:1")
    source.push("second:1", "other")
    user.write("images.json", {f"{source}/first:1": f"{target}/app:1", f"{source}/second:/^1$/": f"{target}/app"})
    assert user.sync().code == 1
    with Hook.of(user) as hook:
        page = hook.text("/")[1]
        assert [row.endswith("Sync now") for row in rows(page)] == [False, True]
        assert post(hook, token=token_of(page), all="1") == (303, "./?queued=1")
        assert post(hook, token=token_of(page), target=f"{target}/app:1 from {source}/second:1") == (303, "./?missing=1")
    assert user.sync("--queue").code == 0
    assert target.digest("app:1") == first


def test_calls_of_other_sites(synced: User, source: Registry) -> None:
    """Over plain HTTP, a browser only says `Origin`. A proxy may have changed the host, so a form of ours needs its token."""
    elsewhere = {"Origin": "http://evil.example"}
    name = f"{source}/app:1"
    with Hook.of(synced) as hook:
        assert hook.hook(name, headers=elsewhere)[0] == 403
        assert hook.call("/hooks/distribution", "POST", b"{}", elsewhere)[0] == 403
        assert hook.hook(name, headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
        assert hook.text("/", headers={"Sec-Fetch-Site": "cross-site"})[0] == 200, "somebody follows a link"
        assert post(hook, elsewhere, token=token_of(hook.text("/")[1]), all="1")[0] == 303
        assert hook.hook(name)[0] == 200


def test_a_full_queue(synced: User) -> None:
    with Hook.of(synced, HOOK_QUEUE="2") as hook:
        token = token_of(hook.text("/")[1])
        assert post(hook, token=token, all="1") == (303, "./?full=1")
        assert "The queue has no room for more images; wait for the next queue run." in hook.text("/?full=1")[1]


def test_options_of_an_image_survive_the_button(user: User, source: Registry, target: Registry) -> None:
    user.write("images.json", {f"{source}/gone:1": {"target": f"{target}/gone:1", "referrers": True}})
    assert user.sync().code == 1
    with Hook.of(user) as hook:
        assert post(hook, token=token_of(hook.text("/")[1]), all="1") == (303, "./?queued=1")
    assert queued(user) == [(f"{source}/gone:1 +referrers", f"{target}/gone:1")]


def test_ten_thousand_images(user: User) -> None:
    """Each page is small and fast. The bounds are the specification's, measured at the server's best of five."""
    user.write("images.json", [])
    assert user.sync().code == 0
    with closing(sqlite3.connect(user.folder / "data" / records.FILE)) as database, database:
        rows_of = (
            (
                f"registry.example.com/mirror/team-{number % 100}/application-{number}:v1.{number}",
                "docker.io/x/y:1",
                "sha256:" + "a" * 64,
            )
            for number in range(10_000)
        )
        insert = (
            "INSERT INTO images (target, origin, digest, verified, copied, outcome, seconds, seen, listed) "
            "VALUES (?, ?, ?, 1e9, 1e9, 'skipped', 0.1, 1e9, 1)"
        )
        database.executemany(insert, rows_of)
    with Hook.of(user, HOOK_RATE="0") as hook:
        for query in ("", "?page=50", "?q=application-77", "?outcome=skipped&page=3"):
            page = hook.text(f"/{query}")[1]
            assert len(rows(page)) in {111, 200}
            assert len(page.encode()) < 300_000
            took = []
            for _ in range(5):
                began = time.monotonic()
                hook.text(f"/{query}")
                took.append(time.monotonic() - began)
            assert min(took) < 0.2
        assert re.findall(r"<a href=\"\?page=(\d+)\"", hook.text("/?page=25")[1]) == [
            "22",
            "23",
            "24",
            "25",
            "26",
            "27",
            "28",
            "50",
        ]


def test_report_html(synced: User, target: Registry) -> None:
    assert not (synced.folder / "data" / "report.html").exists()
    assert synced.sync(REPORT_HTML="true").code == 1
    page = (synced.folder / "data" / "report.html").read_text()
    assert [row.split()[0] for row in rows(page)] == [f"{target}/{name}:1" for name in ("zoo", "app", "old")]
    assert "<form" not in page
    assert "<link" not in page, "one file, and nothing else"
    assert not re.findall(r"(?:src|href)=\"(?!\?)", page)


def test_reports_have_their_schema(synced: User) -> None:
    schema = Draft202012Validator(json.loads((BUNDLE / "schemas" / "report.schema.json").read_text()))
    (synced.folder / "images.json").write_text("[")
    for command, code in ((["--dry-run"], 2), ([], 2)):
        assert synced.run("sync.py", *command).code == code
    names = ("report.json", "report-dry-run.json")
    reports = [json.loads((synced.folder / "data" / name).read_text()) for name in names]
    assert reports[0]["problems"]
    assert reports[0]["failing_since"] <= reports[0]["started"], "it has failed before"
    synced.images(("docker.io/library/none:1", "docker.io/library/none:1"))
    for report in reports:
        assert [error.message for error in schema.iter_errors(report)] == []
        assert report.keys() <= schema.schema["properties"].keys()
    assert not schema.is_valid(reports[0] | {"exit_code": "1"})
    assert schema.is_valid(reports[0] | {"new": 1}), "new keys may come"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path) as started:
        yield started


def test_a_real_browser(synced: User, browser: webdriver.Chrome, target: Registry) -> None:
    """It needs no JavaScript, asks no other host, and fits a phone, in the dark and in the light."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    with Hook.of(synced) as hook:
        name, password = (urllib.parse.quote(part, safe="") for part in Hook.ACCOUNT)
        agent = browser.execute_cdp_cmd("Browser.getVersion", {})["userAgent"]
        pictures = {}
        for size, theme, language in (
            ((1200, 700), "light", "zh-"),
            ((1200, 700), "light", ""),
            ((1200, 700), "dark", ""),
            ((390, 800), "light", ""),
        ):
            accepted = "zh-CN" if language else "en"
            browser.execute_cdp_cmd("Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": accepted})
            browser.get(f"http://{name}:{password}@{hook.address}/")
            assert ("上次同步" in browser.page_source) == bool(language)
            browser.set_window_size(*size)
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500},
            )
            browser.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            )
            layout = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})
            assert layout["cssContentSize"]["width"] <= size[0], "nothing is cut off"
            pictures[f"status-page-{language}{theme}-{size[0]}"] = browser.get_screenshot_as_png()
        assert pictures["status-page-light-1200"] != pictures["status-page-dark-1200"]
        browser.find_element(By.CSS_SELECTOR, "input[type=search]").send_keys("zoo\n")
        wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 1, "the image that was searched")
        browser.find_element(By.CSS_SELECTOR, "tbody button").click()
        wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".note"), "the answer")
        assert "Queued: 1." in browser.find_element(By.CSS_SELECTOR, ".note").text
        assert [one for _, one in queued(synced)] == [f"{target}/zoo:1"]
        assert requested(browser) == {hook.address}
        assert [
            entry["message"] for entry in log_of(browser, "browser") if "Content Security Policy" in entry["message"]
        ] == []
    if os.environ.get("WRITE_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        for name, picture in pictures.items():
            (PICTURES / f"{name}.png").write_bytes(picture)
