"""docs/zh has a page for each page of docs, with the same sections, tables, code and links, and one term for each thing.

A code block that is meant to differ stands below `<!-- other -->` in the Chinese page.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from support import BUNDLE

ENGLISH = BUNDLE / "docs"
CHINESE = ENGLISH / "zh"
NAMES = sorted({path.name for folder in (ENGLISH, CHINESE) for path in folder.glob("*.md")})
PAIRS = {name: (ENGLISH / name, CHINESE / name) for name in NAMES}
PAIRS |= {"README.md": (BUNDLE / "README.md", BUNDLE / "README.zh-CN.md")}

CODE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
TABLE = re.compile(r"(?:^ *\|.*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMENT = re.compile(r"(?m)^ *#(?: .*)?\n| +# .*$")
OTHER = re.compile(r"<!-- other -->\s*(?:<!-- [^>]* -->\s*)?\Z")
LITERAL = re.compile(
    r"[A-Z]+_[A-Z_]+|--[a-z][a-z-]+|/(?:hooks|images|status|metrics|healthz)/?\w*|[\w-]+\.(?:json|ya?ml|db|py)\b|imageporter_\w+"
    r"|(?<![\d.,])\d[\d,.]*\d(?!\d)"
)
LITERAL_CELL = re.compile(r"[\d,. ]*\d|`[A-Za-z][^`]*`|/\S+")
URL = re.compile(r"https?://[^\s)>`]+")
# A registry is 镜像仓库, a repository 存储库, and the repository of ImagePorter itself 代码库.
AMBIGUOUS = re.compile(r".*(?<!镜像)仓库.*")
# A comment that a program reads.
DIRECTIVE = "# yaml-language-server:"


@dataclass(frozen=True)
class Block:
    """A code block: its language, its content, and whether it may differ from its counterpart."""

    language: str
    content: str
    is_other: bool

    @property
    def code(self) -> str:
        """The content without comments."""
        return COMMENT.sub("", self.content)

    @property
    def comments(self) -> list[str]:
        """The comments that people read."""
        found = (one.strip() for one in COMMENT.findall(self.content))
        return [one for one in found if one.strip("# ") and not one.startswith(DIRECTIVE)]


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    path: Path
    text: str

    @property
    def prose(self) -> str:
        """The text without code blocks."""
        return CODE.sub("", self.text)

    @property
    def headings(self) -> list[str]:
        """`#`, `##` or `###` for each heading."""
        return [level for level, _ in HEADING.findall(self.prose)]

    @property
    def tables(self) -> list[tuple[int, int]]:
        """The numbers of rows and columns of each table."""
        found = [table.strip().splitlines() for table in TABLE.findall(f"{self.prose}\n")]
        return [(len(rows), rows[0].count("|") - 1) for rows in found]

    @property
    def cells(self) -> list[str]:
        """The cells of all tables, with the commas of English."""
        rows = [row for table in TABLE.findall(f"{self.prose}\n") for row in table.splitlines()]
        return [cell.strip().replace("、", ", ") for row in rows for cell in re.split(r"(?<!\\)\|", row)[1:-1]]

    @property
    def blocks(self) -> list[Block]:
        """The code blocks."""
        found = CODE.finditer(self.text)
        return [Block(one[2], one[3], bool(OTHER.search(self.text, 0, one.start()))) for one in found]

    @property
    def links(self) -> list[tuple[Path, str]]:
        """The path in the repository, and the anchor, of each link to one of its files."""
        found = [link.partition("#") for link in LINK.findall(self.prose) if "://" not in link]
        return [((self.path.parent / name).resolve() if name else self.path, anchor) for name, _, anchor in found]

    @property
    def anchors(self) -> set[str]:
        """The explicit ones, and those that GitHub and the site make of headings."""
        slugs = Counter[str]()
        found = set(re.findall(r'<a (?:id|name)="([^"]+)"', self.prose))
        for _, text in HEADING.findall(self.prose):
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
            slugs[slug] += 1
        return found


@cache
def read(path: Path) -> Page:
    """Return the page `path`."""
    assert path.exists(), f"{path.relative_to(BUNDLE)} does not exist"
    return Page(path, path.read_text(encoding="utf-8"))


def in_english(path: Path) -> Path:
    """Return the English counterpart of a file that may be Chinese; that of the picture `a-zh-b.png` is `a-b.png`."""
    if path == BUNDLE / "README.zh-CN.md":
        return BUNDLE / "README.md"
    if path.parent == ENGLISH / "pictures":
        return path.with_name(path.name.replace("-zh-", "-"))
    return ENGLISH / path.name if path.parent == CHINESE else path


@pytest.fixture(params=PAIRS)
def name(request: pytest.FixtureRequest) -> str:
    """One page after the other."""
    return str(request.param)


@pytest.fixture
def english(name: str) -> Page:
    """The English page."""
    return read(PAIRS[name][0])


@pytest.fixture
def chinese(name: str) -> Page:
    """The Chinese page."""
    return read(PAIRS[name][1])


def test_each_page_exists_in_both_languages() -> None:
    assert NAMES
    assert [[path.name for path in sorted(folder.glob("*.md"))] for folder in (ENGLISH, CHINESE)] == [NAMES, NAMES]


def test_both_pages_have_the_same_sections(english: Page, chinese: Page) -> None:
    assert chinese.headings == english.headings


def test_both_pages_have_the_same_tables(english: Page, chinese: Page) -> None:
    assert chinese.tables == english.tables


def test_both_pages_have_the_same_code(english: Page, chinese: Page) -> None:
    assert [block.language for block in chinese.blocks] == [block.language for block in english.blocks]
    pairs = zip(chinese.blocks, english.blocks, strict=True)
    compared = [(one.code, other.code) for one, other in pairs if not one.is_other]
    assert [one for one, _ in compared] == [other for _, other in compared]


def test_a_block_that_may_differ_does(english: Page, chinese: Page) -> None:
    pairs = zip(chinese.blocks, english.blocks, strict=True)
    assert [one.content for one, other in pairs if one.is_other and one.content == other.content] == []


def test_the_comments_of_a_chinese_page_are_chinese(chinese: Page) -> None:
    comments = [comment for block in chinese.blocks if block.language == "yaml" for comment in block.comments]
    assert [comment for comment in comments if comment.isascii()] == []


def test_a_chinese_page_has_one_term_for_each_thing(chinese: Page) -> None:
    assert AMBIGUOUS.findall(chinese.text) == []


def test_what_is_no_prose_is_the_same_in_both_pages(english: Page, chinese: Page) -> None:
    """Variables, flags, paths, files, metrics and numbers; and cells of tables that have nothing else."""
    found, shown = (set(LITERAL.findall(URL.sub("", page.prose))) for page in (english, chinese))
    assert sorted(found - shown) == []
    pairs = [pair for pair in zip(english.cells, chinese.cells, strict=True) if LITERAL_CELL.fullmatch(pair[0])]
    assert [pair for pair in pairs if pair[1].isascii() and pair[0] != pair[1]] == []


def test_both_pages_link_to_the_same_files(english: Page, chinese: Page, name: str) -> None:
    counterparts = {*PAIRS[name]}
    linked = {in_english(path) for path, _ in chinese.links if path not in counterparts}
    assert sorted(linked) == sorted({path for path, _ in english.links if path not in counterparts})


def test_a_chinese_page_links_to_chinese_pages(chinese: Page, name: str) -> None:
    """Only the link to its own counterpart may lead to an English one."""
    english = {path for path, _ in chinese.links if path.parent == ENGLISH and path.suffix == ".md"}
    english |= {path for path, _ in chinese.links if path == BUNDLE / "README.md"}
    english -= {PAIRS[name][0]}
    assert sorted(english) == []


def test_the_links_of_both_pages_lead_somewhere(english: Page, chinese: Page) -> None:
    for page in (english, chinese):
        assert [path.relative_to(BUNDLE) for path, _ in page.links if not path.exists()] == []
        to_pages = [(path, anchor) for path, anchor in page.links if anchor and path.suffix == ".md"]
        assert [(path.name, anchor) for path, anchor in to_pages if anchor not in read(path).anchors] == []


@pytest.mark.parametrize(
    ("text", "code", "comments"),
    [
        ("# two words\na: b  # 中文\n", "a: b\n", ["# two words", "# 中文"]),
        ("a: slack://x/#ops\n#\nb: '#'\n", "a: slack://x/#ops\nb: '#'\n", []),
        ("# yaml-language-server: $schema=x.json\na: b\n", "a: b\n", []),
    ],
)
def test_comments_are_told_from_code(text: str, code: str, comments: list[str]) -> None:
    block = Block("yaml", text, is_other=False)
    assert (block.code, block.comments) == (code, comments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!-- other -->\n```ini\na\n```\n", [True]),
        ("<!-- other -->\n\n<!-- why -->\n```ini\na\n```\n\n```ini\nb\n```\n", [True, False]),
        ("- a list\n\n  ```shell\n  a\n  ```\n", [False]),
    ],
)
def test_a_block_may_be_marked_as_another(text: str, expected: list[bool]) -> None:
    assert [block.is_other for block in Page(ENGLISH / "x.md", text).blocks] == expected
