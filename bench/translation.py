"""Chinese counterparts of the texts that a generator writes into a page."""
# ruff: noqa: RUF001 (Chinese has its own commas)

import re
from collections.abc import Callable, Mapping, Sequence

Translate = Callable[[str], str]
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
SEPARATORS = {"; ": "；", ", ": "，"}  # the weaker one last


class UntranslatedError(Exception):
    """A text has no counterpart, so the Chinese page cannot be written."""


def translator(words: Mapping[str, str], place: str) -> Translate:
    """Return a function that translates a text with `words`, which are in the file `place`.

    The keys of `words` have `{}` for each number. Their values have `{}`, too, or `{1}` and `{0}` where Chinese has another
    order. A list with commas or semicolons may be translated word by word.
    """

    def translate(text: str) -> str:
        text = " ".join(text.split())
        key = NUMBER.sub("{}", text)
        if key in words:
            return words[key].format(*NUMBER.findall(text))
        for separator, chinese in SEPARATORS.items():
            if separator in text:
                return chinese.join(map(translate, text.split(separator)))
        raise UntranslatedError(f"{place} has no translation of {key!r}; add it")

    return translate


def with_names(text: str, names: Sequence[str], translate: Translate) -> str:
    """Return `text`, translated, and `names`, which no language translates, as one list."""
    translated = translate(text)
    return (", " if translated == text else SEPARATORS[", "]).join((translated, *names))
