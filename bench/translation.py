"""Chinese counterparts of the texts that a generator writes into a page."""

import re
from collections.abc import Callable, Mapping

Translate = Callable[[str], str]
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class UntranslatedError(Exception):
    """A text has no counterpart, so the Chinese page cannot be written."""


def translator(words: Mapping[str, str], place: str) -> Translate:
    """Return a function that translates a text with `words`, which are in the file `place`.

    The keys of `words` have `{}` for each number. Their values have `{}`, too, or `{1}` and `{0}` where Chinese has another
    order. A list with commas may be translated word by word.
    """

    def translate(text: str) -> str:
        text = " ".join(text.split())
        key = NUMBER.sub("{}", text)
        if key in words:
            return words[key].format(*NUMBER.findall(text))
        parts = text.split(", ")
        if len(parts) > 1:
            return "，".join(map(translate, parts))  # noqa: RUF001 (Chinese has its own comma)
        raise UntranslatedError(f"{place} has no translation of {key!r}; add it")

    return translate
