"""Platforms: which images of an index a target receives.

A platform is docker's `os/architecture[/variant]`. One that names no variant covers all of them, as in crane.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

_PLATFORM = re.compile(r"[a-z0-9_.-]+/[a-z0-9_.-]+(?:/[a-z0-9_.-]+)?")
INDEX_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
MOST_SHOWN = 20
LONGEST_SHOWN = 60  # characters of a platform, which may be any text


@dataclass(frozen=True, slots=True)
class Platforms:
    """Platforms to keep: in an index of `names`, or with `is_single` the one image of it."""

    names: tuple[str, ...]
    is_single: bool = False

    def __str__(self) -> str:
        return self.names[0] if self.is_single else f"[{','.join(self.names)}]"


def parse(value: str | list[str]) -> Platforms:
    """Return the platforms in a file: one as a string, or a list. Raises ValueError."""
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        if not _PLATFORM.fullmatch(name):
            raise ValueError(f"{name!r} is not a platform; write os/architecture, like linux/amd64 or linux/arm/v7")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice!r} is there twice; keep one")
    return Platforms(names, isinstance(value, str))


def parse_text(text: str) -> Platforms:
    """Return the platforms whose `str` is `text`."""
    is_list = text.startswith("[") and text.endswith("]")
    return parse(text[1:-1].split(",") if is_list else text)


def platform_of(description: Any) -> str:
    """Return the platform in a descriptor or an image's configuration; empty if there is none."""
    if not isinstance(description, dict):
        return ""
    parts = [description.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if isinstance(part, str) and part)


def select_children(manifest: str, platforms: Platforms) -> tuple[str, ...] | None:
    """Return the digests of the images in an index that are of `platforms`; None if `manifest` is no index.

    Raises ValueError if one of the platforms is missing, or if a single one is several images.
    """
    children = index_children(manifest)
    if children is None:
        return None
    for name in platforms.names:
        matching = [(digest, platform) for digest, platform in children if _covers(name, platform)]
        if not matching:
            raise ValueError(_missing(name, [platform for _, platform in children]))
        if platforms.is_single:
            exact = [(digest, platform) for digest, platform in matching if platform == name] or matching
            if len({digest for digest, _ in exact}) > 1:
                several = ", ".join(platform for _, platform in exact)
                raise ValueError(f"has several images for {name}: {several}; name one of them, or its digest")
            return (exact[0][0],)
    # As crane filters: entry by entry, so one image may be there for two platforms.
    return tuple(digest for digest, platform in children if any(_covers(name, platform) for name in platforms.names))


def require_platform(config: str, platforms: Platforms) -> None:
    """Raise ValueError unless the image with the configuration `config` is of one of `platforms`."""
    try:
        platform = platform_of(json.loads(config))
    except (ValueError, RecursionError):
        platform = ""
    if platform and not any(_covers(name, platform) for name in platforms.names):
        raise ValueError(_missing(", ".join(platforms.names), [platform]))


def index_children(manifest: str) -> list[tuple[str, str]] | None:
    """Return digest and platform of each image in an index; None if `manifest` is no index."""
    try:
        content = json.loads(manifest)
        if not isinstance(content, dict) or content.get("mediaType", "") not in {*INDEX_TYPES, ""}:
            return None
        if not isinstance(content.get("manifests"), list):
            return None
        return [(str(child["digest"]), platform_of(child.get("platform"))) for child in content["manifests"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _covers(name: str, platform: str) -> bool:
    """Return whether `platform` is `name`, or a variant of it."""
    return platform == name or platform.startswith(f"{name}/")


def _missing(name: str, available: list[str]) -> str:
    # `unknown/unknown` is what builders give to attestations, which are no images.
    shown = sorted({platform[:LONGEST_SHOWN] for platform in available if platform and not platform.startswith("unknown/")})
    return f"has no image for {name}; it has {', '.join(shown[:MOST_SHOWN]) or 'none with a platform'}"
