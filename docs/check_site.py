"""`make site`: check the built site. Argument: its folder.

All links lead somewhere, every page has its language, and no page loads anything from another host. SITE_URL is the one that
the site was built with.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# A browser follows these when the reader clicks; all other URLs of a page are loaded with it.
CLICKED = {("a", "href"), ("area", "href")}
NOT_LOADED = {"alternate", "canonical", "next", "prev"}  # <link rel=...>
URLS = {
    "action",
    "attributionsrc",
    "background",
    "data",
    "formaction",
    "href",
    "manifest",
    "ping",
    "poster",
    "src",
    "xlink:href",
}
LISTS_OF_URLS = {"imagesrcset", "srcset"}
ABSOLUTE = re.compile(r"(?:[a-z]+:)?//[^\s\"'<>)]+", re.IGNORECASE)
CSS_URL = re.compile(r"(?:url|image-set)\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", re.IGNORECASE)
# The theme's script asks another host if it finds one of these.
LOADERS = {"mermaid": "class", "source": "data-md-component"}


class Page(HTMLParser):
    """One page: its language, its anchors, and its URLs."""

    def __init__(self, path: Path) -> None:
        """Read the file."""
        super().__init__()
        self.language = ""
        self.anchors: set[str] = set()
        self.links: list[tuple[str, bool]] = []  # the URL, and whether it is loaded
        self.problems: list[str] = []
        self.inside = ""
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        given = {name: value or "" for name, value in attrs}
        self.inside = tag if tag in {"script", "style"} else ""
        self.language = given.get("lang", "") if tag == "html" else self.language
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        rel = set(given.get("rel", "").lower().split())
        for name, value in given.items():
            if name in URLS:
                clicked = (tag, name) in CLICKED or (tag == "link" and rel <= NOT_LOADED)
                self.links.append((value, not clicked))
            elif name in LISTS_OF_URLS:
                self.links += [(part.split()[0], True) for part in value.split(",") if part.strip()]
            elif name == "srcdoc" or name.startswith("on"):
                self.problems.append(f"has {name}=, which is not checked")
            elif name == "content" and given.get("http-equiv", "").lower() == "refresh":
                self.problems.append("is redirected")
            self.links += [(url, True) for url in css_urls(value)]  # of style="", and of a picture's fill=""
        if tag == "base":
            self.problems.append("has a <base>")
        self.problems += [
            f"has {name}={value!r}, for which the theme asks another host"
            for value, name in LOADERS.items()
            if value in given.get(name, "").split()
        ]

    def handle_endtag(self, _tag: str) -> None:
        """Leave a script or a style."""
        self.inside = ""

    def handle_data(self, data: str) -> None:
        """Look into scripts and styles of the page."""
        if self.inside == "style":
            self.links += [(url, True) for url in css_urls(data)]
        elif self.inside == "script":
            self.links += [(url, True) for url in ABSOLUTE.findall(data)]


def css_urls(css: str) -> list[str]:
    """Return the URLs that a style sheet loads."""
    return [one or other for one, other in CSS_URL.findall(css)]


class Site:
    """All files of a built site."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        self.folder = folder.resolve()
        self.root = urlsplit(os.environ.get("SITE_URL", "")).path.rstrip("/") + "/"

    @cached_property
    def pages(self) -> dict[Path, Page]:
        """Every page by its file."""
        return {path: Page(path) for path in sorted(self.folder.rglob("*.html"))}

    def problem(self, source: Path, url: str, *, loaded: bool) -> str | None:
        """Say what is wrong with a URL of the file `source`, or None."""
        parts = urlsplit(url)
        if parts.scheme == "data" or (parts.scheme == "mailto" and not loaded):
            return None
        if parts.scheme or parts.netloc:
            wrong = loaded or parts.scheme not in {"http", "https"}
            return f"loads {url}" if wrong else None
        path = unquote(parts.path)
        if path.startswith("/"):
            if source.name != "404.html" or not path.startswith(self.root):
                return f"has an absolute link: {url}"
            target = self.folder / path.removeprefix(self.root)
        else:
            target = (source.parent / path).resolve() if path else source
        target = target / "index.html" if target.is_dir() and source.name == "404.html" else target
        if not target.is_file() or not target.is_relative_to(self.folder):
            return f"{url} does not exist"
        fragment = unquote(parts.fragment)
        if fragment and target in self.pages and fragment not in self.pages[target].anchors:
            return f"{url}: no such anchor"
        return None

    def urls(self) -> Iterator[tuple[Path, str, bool]]:
        """Yield all URLs: the file that has it, the URL, and whether it is loaded."""
        for path, page in self.pages.items():
            yield from ((path, url, loaded) for url, loaded in page.links)
        for path in self.folder.rglob("*.svg"):
            yield from ((path, url, loaded) for url, loaded in Page(path).links if not url.startswith("#"))
        for path in self.folder.rglob("*.css"):
            yield from ((path, url, True) for url in css_urls(path.read_text("utf-8")))
        for path in self.folder.rglob("search_index.json"):
            # Its locations are relative to the folder above.
            index = path.parent.parent / "index.html"
            yield from ((index, entry["location"], False) for entry in json.loads(path.read_text("utf-8"))["docs"])

    def problems(self) -> Iterator[str]:
        """Yield all that is wrong."""
        for path, page in self.pages.items():
            name = path.relative_to(self.folder)
            language = "zh" if name.parts[0] == "zh" else "en"
            if page.language != language:
                yield f"{name}: its language is {page.language!r}, not {language!r}"
            yield from (f"{name}: {problem}" for problem in page.problems)
        for source, url, loaded in self.urls():
            if problem := self.problem(source, url, loaded=loaded):
                yield f"{source.relative_to(self.folder)}: {problem}"


def main(argv: list[str]) -> int:
    """Check the folder; exits with 1 if something is wrong."""
    site = Site(Path(argv[1]))
    problems = list(dict.fromkeys(site.problems()))
    if not site.pages:
        problems.append(f"{argv[1]} has no pages")
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
