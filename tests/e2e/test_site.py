"""The site of `make site`: both languages, links, search, and no request to another host."""

import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from browser import chromium, log_of, requested
from selenium import webdriver
from selenium.webdriver.common.by import By
from support import BUNDLE, wait_for

SITE_URL = "https://docs.example.com/mirror/"


def python(folder: Path, command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder`, with none of the machine's variables."""
    env = {"PYTHONDONTWRITEBYTECODE": "1", "NO_MKDOCS_2_WARNING": "1", **env}
    return subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)


def build(folder: Path, site: Path, **env: str) -> str:
    """Build both languages of `folder`, as `make site` does. Returns all warnings; nothing else may be wrong."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed: `make site` installs it")
    warnings = []
    for config, target in (("mkdocs.yml", site), ("mkdocs.zh.yml", site / "zh")):
        built = python(folder, ("-m", "mkdocs", "build", "-f", config, "-d", str(target)), env)
        found = re.findall(r"^WARNING -  (.*)$", built.stderr, re.MULTILINE)
        assert built.returncode == (1 if found else 0), built.stdout + built.stderr
        warnings += found
    return "\n".join(warnings)


def check(site: Path, **env: str) -> list[str]:
    """Return what the checker finds."""
    checked = python(BUNDLE, ("docs/check_site.py", str(site)), env)
    assert checked.returncode == (1 if checked.stderr else 0), checked.stderr
    return checked.stderr.splitlines()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the repository."""
    site = tmp_path_factory.mktemp("site")
    assert build(BUNDLE, site) == ""
    return site


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository with one page in each language."""
    folder = tmp_path / "small"
    (folder / "docs" / "zh").mkdir(parents=True)
    (folder / "docs" / "pictures").mkdir()
    (folder / "examples").mkdir()
    (folder / "examples" / "a b.json").write_text("[]")
    for name in ("site_hooks.py", "site.css", "site.js", "pictures/icon.svg"):
        shutil.copy(BUNDLE / "docs" / name, folder / "docs" / name)
    for name in ("mkdocs.yml", "mkdocs.zh.yml"):
        text = (BUNDLE / name).read_text("utf-8")
        (folder / name).write_text(re.sub(r"^nav:\n(?:  .*\n)+", "nav: [Home: index.md]\n", text, flags=re.MULTILINE), "utf-8")
    (folder / "README.md").write_text("# Read me\n\n## Two files\n")
    (folder / "docs" / "index.md").write_text("# Home\n")
    (folder / "docs" / "zh" / "index.md").write_text("# 首页\n", "utf-8")
    return folder


def test_all_links_lead_somewhere_in_both_languages(site: Path) -> None:
    assert check(site) == []
    english, chinese = ({path.name for path in folder.glob("*.html")} for folder in (site, site / "zh"))
    assert english == chinese | {"404.html"}
    assert {path.name for path in (BUNDLE / "docs").glob("*.md")} == {path.replace(".html", ".md") for path in chinese}
    assert not list(site.rglob("*.py*")), "scripts are no pages"


def test_pages_look_as_on_github(small: Path, tmp_path: Path) -> None:
    english = """
# Home

## `sync.py`: what -- it prints

## Twice

## Twice

<a id="here"></a>

<!-- marker -->
| name | pattern<sub>1</sub> |
|---|---|
| a | `x \\| y` |
<!-- /marker -->

1. An item

    ```shell
    echo
    ```

    - nested

[1](#syncpy-what----it-prints) [2](#twice-1) [3](#here) [4](zh/index.md#退避与重试) [5](../README.md#two-files)
[6](../examples) [7](../examples/a%20b.json) [8](site_hooks.py) [9](https://example.com)
![picture](pictures/icon.svg)
"""
    chinese = (
        "# 首页\n\n## 退避与重试\n\n[1](#退避与重试) [2](../index.md#here) [3](../../README.md)\n![图](../pictures/icon.svg)\n"
    )
    (small / "docs" / "index.md").write_text(english, "utf-8")
    (small / "docs" / "zh" / "index.md").write_text(chinese, "utf-8")
    assert build(small, tmp_path / "site") == ""
    assert check(tmp_path / "site") == []
    page = (tmp_path / "site" / "index.html").read_text("utf-8")
    github = "https://github.com/imageporter/imageporter"
    assert re.findall(r'<a href="([^"]+)">\d</a>', page) == [
        "#syncpy-what----it-prints",
        "#twice-1",
        "#here",
        "zh/index.html#退避与重试",
        f"{github}/blob/main/README.md#two-files",
        f"{github}/tree/main/examples",
        f"{github}/blob/main/examples/a b.json",
        f"{github}/blob/main/docs/site_hooks.py",
        "https://example.com",
    ]
    assert "<td><code>x | y</code></td>" in page
    assert "pattern<sub>1</sub>" in page
    page = (tmp_path / "site" / "zh" / "index.html").read_text("utf-8")
    assert re.findall(r'<a href="([^"]+)">\d</a>', page) == [
        "#退避与重试",
        "../index.html#here",
        f"{github}/blob/main/README.md",
    ]
    assert 'src="../pictures/icon.svg"' in page


MISTAKES = (
    ("[x](nowhere.md)", "Doc file 'index.md' contains a link 'nowhere.md', but the target is not found"),
    ("[x](../examples/nowhere)", "Doc file 'index.md' contains an unrecognized relative link '../examples/nowhere'"),
    ("[x](../../outside.md)", "Doc file 'index.md' contains a link '../../outside.md', but the target"),
    ("[x](#nowhere)", "Doc file 'index.md' contains a link '#nowhere', but there is no such anchor on this page."),
    ("[x](../README.md#nowhere)", "site: docs/index.md: ../README.md#nowhere has no such anchor"),
    ("[x](zh/index.md#nowhere)", "site: docs/index.md: zh/index.md#nowhere has no such anchor"),
    ("[x](/index.md)", "Doc file 'index.md' contains an absolute link '/index.md'"),
    (
        "text\n- item",
        "site: docs/index.md:31: GitHub shows [: text | ul li: item], but the site [: text - item]; on both, a list needs",
    ),
    ("- item\n  - nested", "site: docs/index.md:37: GitHub shows [ul li ul li: nested], but the site [ul li: nested]"),
    (
        "1. item\n\n   ```\n   code\n   ```",
        "site: docs/index.md:43: GitHub shows [ol li pre: code], but the site [pre: code]; on both, a list needs",
    ),
    (
        "<details>\n\n**bold**\n\n</details>",
        "site: docs/index.md:51: GitHub shows [: <strong>bold</strong>], but the site [: **bold**]",
    ),
    (
        "**注意：**见下文",
        "site: docs/index.md:57: GitHub shows [: **注意：**见下文], but the site [: <strong>注意：</strong>见下文]",
    ),
)


def test_a_mistake_in_a_page_fails_the_build(small: Path, tmp_path: Path) -> None:
    page = "".join(f"\n{text}\n\n## Another mistake\n" for text, _ in MISTAKES)
    (small / "docs" / "index.md").write_text(f"# Home\n{page}", "utf-8")
    warnings = build(small, tmp_path / "site").splitlines()
    assert [expected for _, expected in MISTAKES if not any(line.startswith(expected) for line in warnings)] == []
    assert len(warnings) == len(MISTAKES)


def test_a_page_that_is_not_in_the_navigation_fails_the_build(small: Path, tmp_path: Path) -> None:
    (small / "docs" / "zh" / "more.md").write_text("# 更多\n", "utf-8")
    assert 'not included in the "nav" configuration:' in build(small, tmp_path / "site")


def test_a_site_below_the_root_of_its_host(small: Path, tmp_path: Path) -> None:
    """Only the page for missing pages has absolute links, because it is shown at any path."""
    assert build(small, tmp_path / "site", SITE_URL=SITE_URL) == ""
    assert check(tmp_path / "site", SITE_URL=SITE_URL) == []
    assert "404.html: /mirror/site.css does not exist" in check(tmp_path / "site", SITE_URL="https://docs.example.com")
    assert "404.html: has an absolute link: /mirror/site.css" in check(
        tmp_path / "site", SITE_URL="https://docs.example.com/x/"
    )
    assert 'href="/mirror/assets/' in (tmp_path / "site" / "404.html").read_text()
    canonical = f'<link rel="canonical" href="{SITE_URL}zh/index.html">'
    assert canonical in (tmp_path / "site" / "zh" / "index.html").read_text()


GOOD = '<html lang="en"><a href="https://example.com">there</a> <a href="#here" id="here">here</a></html>'


WRONG = (
    ("<img src='https://a.example/x.png'>", "loads https://a.example/x.png"),
    ("<img srcset='x.png 1x, //a.example/x.png 2x'>", "loads //a.example/x.png"),
    ("<script src='http://a.example/x.js'></script>", "loads http://a.example/x.js"),
    ("<script>fetch('https://a.example/x')</script>", "loads https://a.example/x"),
    ("<link rel='stylesheet' href='https://a.example/x.css'>", "loads https://a.example/x.css"),
    ("<link rel='preconnect' href='https://a.example'>", "loads https://a.example"),
    ("<link rel='icon' href='https://a.example/x.ico'>", "loads https://a.example/x.ico"),
    ("<iframe src='https://a.example/frame'></iframe>", "loads https://a.example/frame"),
    ("<style>@import 'https://a.example/import.css';</style>", "loads https://a.example/import.css"),
    ("<p style='background: url(https://a.example/background)'></p>", "loads https://a.example/background"),
    ("<p style='background: URL(https://a.example/capitals)'></p>", "loads https://a.example/capitals"),
    ("<svg><rect fill='url(https://a.example/fill)'/></svg>", "loads https://a.example/fill"),
    ("<link rel='preload' imagesrcset='//a.example/set.png 1x'>", "loads //a.example/set.png"),
    ("<iframe srcdoc='<img>'></iframe>", "has srcdoc=, which is not checked"),
    ("<p onclick='x()'></p>", "has onclick=, which is not checked"),
    ("<pre class='mermaid'></pre>", "has class='mermaid', for which the theme asks another host"),
    ("<a data-md-component='source'></a>", "has data-md-component='source', for which the theme asks another host"),
    ("<base href='other.html'>", "has a <base>"),
    ("<a href='none.html'></a>", "none.html does not exist"),
    ("<a href='../outside.html'></a>", "../outside.html does not exist"),
    ("<a href='#none'></a>", "#none: no such anchor"),
    ("<a href='other.html#none'></a>", "other.html#none: no such anchor"),
    ("<a href='/other.html'></a>", "has an absolute link: /other.html"),
)


def test_the_checker_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "outside.html").write_text(GOOD)
    site = tmp_path / "site"
    site.mkdir()
    for name in ("index.html", "other.html", "x.png"):
        (site / name).write_text(GOOD)
    assert check(site) == []
    (site / "index.html").write_text(GOOD + "".join(html for html, _ in WRONG))
    assert sorted(check(site)) == sorted(f"index.html: {problem}" for _, problem in WRONG)


def test_the_checker_reads_style_sheets_the_index_and_languages(tmp_path: Path) -> None:
    assert check(tmp_path) == [f"{tmp_path} has no pages"]
    (tmp_path / "zh" / "search").mkdir(parents=True)
    (tmp_path / "zh" / "index.html").write_text(GOOD)
    (tmp_path / "x.css").write_text("a { background: url(//a.example/x) } b { background: url(data:image/png,x) }")
    index = {"docs": [{"location": "index.html#here"}, {"location": "index.html#none"}]}
    (tmp_path / "zh" / "search" / "search_index.json").write_text(json.dumps(index))
    assert check(tmp_path) == [
        "zh/index.html: its language is 'en', not 'zh'",
        "x.css: loads //a.example/x",
        "zh/index.html: index.html#none: no such anchor",
    ]


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """A server of the site on loopback."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path) as started:
        yield started


def found(browser: webdriver.Chrome, page: str, text: str, expected: str) -> None:
    """Search from `page` for `text`; one of the first four pages is `expected`."""
    browser.get(page)
    browser.find_element(By.CSS_SELECTOR, ".md-search__input").click()
    browser.find_element(By.CSS_SELECTOR, ".md-search__input").send_keys(text)
    script = "return [...document.querySelectorAll('.md-search-result__item > a')].map((link) => new URL(link.href).pathname)"
    wait_for(lambda: expected in list(dict.fromkeys(browser.execute_script(script)))[:4], f"{expected} for {text}", 20)


def test_a_real_browser(address: str, site: Path, browser: webdriver.Chrome) -> None:
    """No page asks another host, the search finds flags and Chinese words, and the other language is one click away."""
    browser.set_window_size(1280, 800)
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    for page in pages:
        browser.get(f"http://{address}/{page}")
        assert "ImagePorter" in browser.title
    found(browser, f"http://{address}/index.html", "--dry-run", "/settings.html")
    found(browser, f"http://{address}/index.html", "NOTIFY_URLS", "/monitoring.html")
    found(browser, f"http://{address}/zh/index.html", "--list-from", "/zh/choosing-images.html")
    found(browser, f"http://{address}/zh/index.html", "退避", "/zh/troubleshooting.html")
    found(browser, f"http://{address}/zh/monitoring.html", "选择镜像", "/zh/choosing-images.html")
    switch = browser.find_element(By.CSS_SELECTOR, ".md-header a[hreflang=en]").get_attribute("href")
    assert switch == f"http://{address}/monitoring.html"
    for width, theme in ((390, "light"), (390, "dark"), (1280, "light")):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        browser.get(f"http://{address}/settings.html")
        layout = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})
        assert layout["cssContentSize"]["width"] <= width, "nothing is cut off"
        shown = browser.find_element(By.TAG_NAME, "body").get_attribute("data-md-color-scheme")
        assert shown == {"light": "default", "dark": "slate"}[theme]
    assert requested(browser) == {address}
    assert log_of(browser, "browser") == []
