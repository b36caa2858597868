"""Which images of an index are of a platform."""

import json

import pytest

from imageporter.model import platforms
from imageporter.model.image import split_origin


def index(*rows: tuple[str, str]) -> str:
    """An index of (digest, platform)."""
    manifests = []
    for digest, platform in rows:
        names = ("os", "architecture", "variant")
        manifests.append({"digest": digest, "platform": dict(zip(names, platform.split("/"), strict=False))})
    return json.dumps({"manifests": manifests})


def test_one_image_for_two_platforms() -> None:
    manifest = index(("a", "linux/amd64"), ("a", "linux/arm64"), ("b", "linux/s390x"))
    assert platforms.select_children(manifest, platforms.parse(["linux/amd64", "linux/arm64"])) == ("a", "a")
    assert platforms.select_children(manifest, platforms.parse(["linux/amd64"])) == ("a",)


def test_an_exact_platform_wins() -> None:
    manifest = index(("a", "linux/amd64"), ("b", "linux/amd64/v3"))
    assert platforms.select_children(manifest, platforms.parse("linux/amd64")) == ("a",)
    assert platforms.select_children(index(("a", "linux/amd64"), ("a", "linux/amd64")), platforms.parse("linux/amd64")) == (
        "a",
    )


@pytest.mark.parametrize("manifest", ["", "[]", "{", '{"manifests": 1}', '{"manifests": [1]}', "[" * 100_000])
def test_what_is_no_index(manifest: str) -> None:
    assert platforms.select_children(manifest, platforms.parse("linux/amd64")) is None
    platforms.require_platform(manifest, platforms.parse("linux/amd64"))


@pytest.mark.parametrize("origin", ["a.io/b:1 linux/amd64 linux/arm64", "a.io/b:1 [linux/amd64", "a.io/b:1 +other"])
def test_an_origin_that_somebody_has_edited(origin: str) -> None:
    with pytest.raises(ValueError, match=r"twice|not a platform|unknown option"):
        split_origin(origin)
