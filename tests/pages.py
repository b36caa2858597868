"""The pages of docs/, in English, and of docs/zh/, in Chinese: what tests read in both."""

import re
from pathlib import Path

from support import BUNDLE

LANGUAGES = ("en", "zh")
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"(?m)^ *#.*\n| +#.*$")


def page_path(name: str, language: str) -> Path:
    """The file of a page in one of LANGUAGES."""
    return BUNDLE / "docs" / ("" if language == "en" else language) / f"{name}.md"


def code_blocks(page: str) -> list[tuple[str, str]]:
    """The code blocks of a page, without comments: the language of each, and its text."""
    return [(language, without_comments(text)) for _, language, text in _BLOCK.findall(page)]


def without_comments(text: str) -> str:
    """Code without comments, which differ from language to language."""
    return _COMMENT.sub("", text)


def marked(page: str, name: str) -> str:
    """The code between `<!-- name -->` and `<!-- /name -->`. Only the first word of the name stands at its end."""
    end = re.escape(name.split(maxsplit=1)[0])
    found = re.search(rf"<!-- {re.escape(name)} -->\n+```\w+\n(.*?)```\n+<!-- /{end} -->", page, re.DOTALL)
    assert found, f"no block {name}"
    return found[1]
