"""Names of targets that are made from the source: `registry/mirror/`, `registry/{name}:{tag}`.

`{registry}`, `{repository}`, `{name}` and `{tag}` stand for the source's host, its path, the last component of its path, and
its tag. A target that ends in "/" is followed by the source's path.
"""

import re

from imageporter.model import reference
from imageporter.model.reference import Reference

TAG = "{tag}"
KEYS = ("{registry}", "{repository}", "{name}", TAG)
_KEY = re.compile(r"\{[^{}]*\}?|\}")
_SEPARATOR = re.compile(r"[._]|__|-+")
_NOT_IN_A_PATH = re.compile(r"[^a-z0-9._-]+")
SAMPLE_TAG = "10"  # two letters, because a repository needs them


def check_separator(text: str) -> None:
    """Raise ValueError unless `text` may join two components of a path."""
    if not _SEPARATOR.fullmatch(text):
        raise ValueError(f"{text!r} cannot join the components of a path; write '-', '_', '__' or '.'")


def check_target(text: str) -> None:
    """Raise ValueError, with a text that can follow "what: ", if `text` has a key that is none of KEYS."""
    if TAG in text.partition("/")[0]:  # the source would choose the registry
        raise ValueError(f"{reference.shown(text)!r} has {TAG} in its registry; write it after the first '/'")
    for found in _KEY.findall(text):
        if found not in KEYS:
            raise ValueError(f"{reference.shown(text)!r} has {found!r}; the keys are {', '.join(KEYS[:-1])} and {KEYS[-1]}")


def depends_on_source(text: str) -> bool:
    """Return whether the target `text` is made from its source. With a pattern or a scheme, it is no valid target."""
    return ":/" not in text and (text.endswith("/") or "{" in text or "}" in text)


def complete_target(text: str, source: Reference, flatten: str | None) -> str:
    """Return the target `text` for the repository `source`: all but `{tag}` is replaced.

    `flatten` joins the components of the source's path.
    """
    path = source.path.replace("/", flatten) if flatten else source.path
    if text.endswith("/"):
        text += "{repository}"
    # A port's colon would begin a tag.
    host = _NOT_IN_A_PATH.sub("-", source.host.lower()).strip("-.")
    values = {"{registry}": host, "{repository}": path, "{name}": source.path.rpartition("/")[2]}
    return _KEY.sub(lambda found: values.get(found[0], found[0]), text)


def with_tag(text: str, source: Reference) -> Reference:
    """Return the target `text` of `source`, whose tag replaces `{tag}`. Raises ValueError if no registry can have it."""
    return reference.parse(text.replace(TAG, source.tag or ""))
