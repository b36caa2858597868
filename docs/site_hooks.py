"""MkDocs hooks. The pages are written for GitHub: the site gets the same text, anchors and links, or the build fails."""

import difflib
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString
from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority, get_plugin_logger
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

BUNDLE = Path(__file__).resolve().parent.parent
DOCS = BUNDLE / "docs"
GITHUB = "https://github.com/imageporter/imageporter"
GITHUB_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
BLOCKS = {"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre", "table", "td", "th", "tr", "ul"}
INLINE = {"a", "br", "code", "del", "em", "hr", "img", "kbd", "strong", "sub", "sup"}
LISTS = "; on both, a list needs an empty line before it, and what belongs to an item is indented by four spaces"

log = get_plugin_logger("site")  # mkdocs.yml is strict: every warning fails the build


class Anchors:
    """The anchors that GitHub gives to the headings of one page."""

    def __init__(self) -> None:
        """Start a page."""
        self.seen: Counter[str] = Counter()

    def __call__(self, heading: str, _separator: str = "-") -> str:
        """Return the anchor of the next heading, as `slugify` of Python-Markdown's toc."""
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        self.seen[slug] += 1
        return f"{slug}-{self.seen[slug] - 1}" if self.seen[slug] > 1 else slug


def anchors_of(markdown: str) -> set[str]:
    """Return the anchors of a file on GitHub."""
    tokens = GITHUB_MARKDOWN.parse(markdown)
    headings = (following for token, following in pairwise(tokens) if token.type == "heading_open")
    texts = ("".join(child.content for child in heading.children or () if child.type != "html_inline") for heading in headings)
    return {*map(Anchors(), texts), *re.findall(r'<a (?:id|name)="([^"]+)"', markdown)}


class Outline(HTMLParser):
    """The text of a page by blocks, each with the line that it stands on."""

    def __init__(self, html: str) -> None:
        """Read all of `html`."""
        super().__init__()
        self.entries: list[tuple[int, str]] = []
        self.path: list[str] = []
        self.text = ""
        self.line = 1
        self.in_permalink = False
        self.feed(html)
        self.close()
        self.end_block()

    def end_block(self) -> None:
        """Keep the text since the last block. A paragraph in a list is the same as plain text there."""
        text = self.text.rstrip() if "pre" in self.path else " ".join(self.text.split())
        if text or self.path[-1:] in (["td"], ["th"]):
            self.entries.append((self.line, f"{' '.join(tag for tag in self.path if tag != 'p')}: {text}"))
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter a block, or note inline markup."""
        given = dict(attrs)
        self.in_permalink |= given.get("class") == "headerlink"
        if tag in BLOCKS:
            if self.text.strip():
                self.end_block()
            self.text = ""
            self.path.append(tag)
        elif tag in INLINE and "pre" not in self.path and not self.in_permalink:
            self.text += f"<{tag}>"
        self.line = int(given.get("data-line") or self.line)

    def handle_endtag(self, tag: str) -> None:
        """Leave a block, or note the end of inline markup."""
        if tag in BLOCKS:
            self.end_block()
            if tag in self.path:
                del self.path[len(self.path) - 1 - self.path[::-1].index(tag) :]
        elif tag in INLINE and "pre" not in self.path and not self.in_permalink:
            self.text += f"</{tag}>"
        self.in_permalink &= tag != "a"

    def handle_data(self, data: str) -> None:
        """Add text."""
        if not self.in_permalink:
            self.text += data


def differences(markdown: str, html: str) -> list[tuple[int, str]]:
    """Return the lines of `markdown` that GitHub shows differently from `html`, each with what both show."""
    tokens = GITHUB_MARKDOWN.parse(markdown)
    for token in tokens:
        if token.map and token.nesting >= 0:
            token.attrSet("data-line", str(token.map[0] + 1))
    github = Outline(GITHUB_MARKDOWN.renderer.render(tokens, GITHUB_MARKDOWN.options, {})).entries
    site = Outline(html).entries
    matcher = difflib.SequenceMatcher(None, [text for _, text in github], [text for _, text in site], autojunk=False)
    found = []
    for kind, begin, end, site_begin, site_end in matcher.get_opcodes():
        if kind != "equal":
            line = github[min(begin, len(github) - 1)][0] if github else 1
            parts = (github[begin:end], site[site_begin:site_end])
            message = "GitHub shows [{}], but the site [{}]".format(*(" | ".join(text for _, text in part) for part in parts))
            found.append((line, message + LISTS * ("l li" in message)))
    return found


class AsOnGitHub(Extension):  # type: ignore[misc] # Python-Markdown has no types
    """Markdown as GitHub reads it: links to all files of the repository, and escaped pipes in the code of tables."""

    def __init__(self) -> None:
        """Begin without a page."""
        super().__init__()
        self.files = Files([])
        self.page: Page | None = None
        self.held: list[tuple[Element, str, str]] = []

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 # Python-Markdown's name
        """Run before and after MkDocs' own processor of links, whose priority is 0. It would take the links for broken."""
        for function, priority in ((self.unescape_pipes, 1), (self.take, 1), (self.put_back, -1)):
            processor = Treeprocessor(md)
            processor.run = function
            md.treeprocessors.register(processor, function.__name__, priority)

    def unescape_pipes(self, root: Element) -> None:
        """Show `a \\| b` in a table as `a | b`."""
        for code in (code for cell in ("td", "th") for found in root.iter(cell) for code in found.iter("code")):
            code.text = AtomicString((code.text or "").replace("\\|", "|"))

    def take(self, root: Element) -> None:
        """Take the links that lead out of this build from the page."""
        self.held = []
        for element in root.iter():
            key = {"a": "href", "img": "src"}.get(str(element.tag))
            url = key and self.on_site(element.get(key, ""))
            if key and url:
                self.held.append((element, key, url))
                element.set(key, "held:")

    def put_back(self, _root: Element) -> None:
        """Set the links again, as they are on the site."""
        for element, key, url in self.held:
            element.set(key, url)

    def on_site(self, url: str) -> str | None:
        """Return where `url` leads on the site; None if it is MkDocs' business, or leads nowhere, which MkDocs will say."""
        parts = urlsplit(url)
        if self.page is None or parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
            return None
        source = Path(str(self.page.file.abs_src_path))
        target = (source.parent / unquote(parts.path)).resolve()
        if not target.exists() or not target.is_relative_to(BUNDLE):
            return None
        known = next((file for file in self.files if file.abs_src_path == str(target)), None)
        if known and not known.inclusion.is_excluded():  # type: ignore[no-untyped-call] # MkDocs' has no annotation
            return None
        if parts.fragment and target.suffix == ".md" and unquote(parts.fragment) not in anchors_of(target.read_text("utf-8")):
            log.warning("%s: %s has no such anchor", source.relative_to(BUNDLE), url)
        if target.is_relative_to(DOCS / "pictures"):
            return url  # the site has the folders of docs/
        if target.is_relative_to(DOCS) and target.suffix == ".md":
            return parts._replace(path=f"{parts.path.removesuffix('.md')}.html").geturl()
        path = f"{GITHUB}/{'tree' if target.is_dir() else 'blob'}/main/{target.relative_to(BUNDLE).as_posix()}"
        return f"{path}#{parts.fragment}" if parts.fragment else path


as_on_github = AsOnGitHub()


def alternates(page: str, config: MkDocsConfig) -> list[dict[str, str]]:
    """Return the links of `page` to both languages."""
    english, chinese = ("", "zh/") if Path(config.docs_dir) == DOCS else ("../", "")
    names = (("English", english, "en"), ("中文", chinese, "zh"))
    return [{"name": name, "link": folder + page, "lang": lang} for name, folder, lang in names]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add what mkdocs.yml cannot say."""
    config.markdown_extensions.append(as_on_github)  # Python-Markdown takes names and objects
    config.extra["alternate"] = alternates("index.html", config)
    if Path(config.docs_dir) != DOCS:
        config.theme.static_templates -= {"404.html"}  # there is one for the whole site
        config.site_url = config.site_url and f"{config.site_url}zh/"
    return config


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Prepare for a page: its links, and its anchors, which are GitHub's."""
    as_on_github.page, as_on_github.files = page, files
    config.mdx_configs["toc"]["slugify"] = Anchors()
    return markdown


def on_page_content(html: str, *, page: Page, **_: Any) -> str:
    """Fail the build where GitHub shows the page differently."""
    markdown = page.markdown or ""
    source = page.file.content_string
    first = source[: len(source) - len(markdown)].count("\n")
    for line, message in differences(markdown, html):
        log.warning("%s:%s: %s", Path(str(page.file.abs_src_path)).relative_to(BUNDLE), first + line, message)
    return html


def on_page_context(context: dict[str, Any], *, page: Page, config: MkDocsConfig, **_: Any) -> dict[str, Any]:
    """Let the language switch lead to the same page."""
    config.extra["alternate"] = alternates(page.file.dest_uri, config)
    return context


@event_priority(50)  # before the search plugin writes its index
def on_post_build(*, config: MkDocsConfig) -> None:
    """Make Chinese searchable, which has no spaces between words: index each pair of neighbouring characters, once."""
    search: Any = config.plugins["material/search"]
    for entry in search.search_index.entries if "text_pairs" in search.config.fields else ():
        for field in ("title", "text"):
            runs = re.findall(r"[\u3400-\u9fff]{2,}", entry[field])
            entry[f"{field}_pairs"] = " ".join({run[i : i + 2]: None for run in runs for i in range(len(run) - 1)})
