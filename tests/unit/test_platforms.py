"""Which images of an index are of a platform."""

import json

import pytest

from imageporter.model import platforms
from imageporter.model.image import split_origin
from imageporter.model.platforms import INDEX_TYPES, LONGEST_SHOWN, MOST_SHOWN


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


NO_INDEXES = [
    *("", "[]", "{", '"manifests"', '{"manifests": 1}', '{"manifests": [1]}', "[" * 100_000),
    *('{"manifests": {}}', '{"manifests": [{}]}', '{"manifests": [[]]}', '{"manifests": null}'),
    '{"mediaType": "application/vnd.oci.image.manifest.v1+json", "manifests": []}',
]


@pytest.mark.parametrize("manifest", NO_INDEXES, ids=lambda text: text[:60])
def test_what_is_no_index(manifest: str) -> None:
    assert platforms.select_children(manifest, platforms.parse("linux/amd64")) is None
    platforms.require_platform(manifest, platforms.parse("linux/amd64"))


@pytest.mark.parametrize(
    "origin", ["a.io/b:1 linux/amd64 linux/arm64", "a.io/b:1 [linux/amd64", "a.io/b:1 linux/amd64]", "a.io/b:1 +other"]
)
def test_an_origin_that_somebody_has_edited(origin: str) -> None:
    with pytest.raises(ValueError, match=r"twice|not a platform|unknown option"):
        split_origin(origin)


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm/v7", "a-.z_9/0-.z_9/1-.z_8"])
def test_a_platform_is_written_as_it_is_read(text: str) -> None:
    single, one, two = platforms.parse(text), platforms.parse([text]), platforms.parse(["a/b", text])
    assert [str(single), str(one), str(two)] == [text, f"[{text}]", f"[a/b,{text}]"]
    assert [platforms.parse_text(str(each)) for each in (single, one, two)] == [single, one, two]
    assert (single.is_single, one.is_single, two.names) == (True, False, ("a/b", text))


@pytest.mark.parametrize(
    "text", ["linux", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x", "Linux/amd64", "linux/amd64 ", ""]
)
def test_what_is_no_platform(text: str) -> None:
    for value in (text, ["linux/amd64", text]):
        with pytest.raises(ValueError, match="is not a platform; write os/architecture"):
            platforms.parse(value)


def test_a_platform_that_is_there_twice() -> None:
    with pytest.raises(ValueError, match=r"^'a/b' is there twice; keep one$"):
        platforms.parse(["a/b", "a/c", "a/b"])


@pytest.mark.parametrize(
    ("description", "platform"),
    [
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({"os": "linux", "architecture": "arm", "variant": ""}, "linux/arm"),
        ({"os": 1, "architecture": "arm"}, "arm"),
        ({}, ""),
        (None, ""),
        ("linux/arm", ""),
    ],
)
def test_the_platform_in_a_description(description: object, platform: str) -> None:
    assert platforms.platform_of(description) == platform


@pytest.mark.parametrize("kind", [*sorted(INDEX_TYPES), ""])
def test_the_media_types_of_an_index(kind: str) -> None:
    manifest = json.dumps({"mediaType": kind, "manifests": [{"digest": "a"}]})
    assert platforms.index_children(manifest) == [("a", "")]


def test_the_media_types_are_those_of_oci_and_docker() -> None:
    oci, docker = "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"
    assert {oci, docker} == INDEX_TYPES


def test_a_platform_without_a_variant_takes_all_variants_and_nothing_else() -> None:
    manifest = index(("a", "linux/arm/v6"), ("b", "linux/arm/v7"), ("c", "linux/arm64"), ("d", "linux/s390x"))
    assert platforms.select_children(manifest, platforms.parse(["linux/arm", "linux/s390x"])) == ("a", "b", "d")
    assert platforms.select_children(manifest, platforms.parse("linux/arm/v7")) == ("b",)
    with pytest.raises(ValueError, match=r"^has several images for linux/arm: linux/arm/v6, linux/arm/v7; name one of them"):
        platforms.select_children(manifest, platforms.parse("linux/arm"))


def test_a_missing_platform_is_an_error_that_lists_the_others() -> None:
    manifest = index(("b", "linux/s390x"), ("a", "linux/arm/v7"), ("c", "unknown/unknown"), ("d", ""))
    for wanted in ("linux/amd64", ["linux/arm", "linux/amd64"]):
        with pytest.raises(ValueError, match=r"^has no image for linux/amd64; it has linux/arm/v7, linux/s390x$"):
            platforms.select_children(manifest, platforms.parse(wanted))
    with pytest.raises(ValueError, match=r"; it has none with a platform$"):
        platforms.select_children(index(("c", "unknown/unknown")), platforms.parse("linux/amd64"))


def test_an_error_about_platforms_is_not_endless() -> None:
    names = [f"linux/{letter}{'x' * 100}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    with pytest.raises(ValueError, match="has no image") as caught:
        platforms.select_children(index(*((name, name) for name in names)), platforms.parse("linux/amd64"))
    shown = str(caught.value).partition("it has ")[2].split(", ")
    assert shown == [name[:LONGEST_SHOWN] for name in names[:MOST_SHOWN]]
    assert (LONGEST_SHOWN, MOST_SHOWN) == (60, 20)


def test_the_platform_of_one_image() -> None:
    config = '{"os": "linux", "architecture": "arm", "variant": "v7"}'
    for wanted in ("linux/arm", "linux/arm/v7", ["linux/amd64", "linux/arm"]):
        platforms.require_platform(config, platforms.parse(wanted))
    with pytest.raises(ValueError, match=r"^has no image for linux/amd64, linux/arm64; it has linux/arm/v7$"):
        platforms.require_platform(config, platforms.parse(["linux/amd64", "linux/arm64"]))
