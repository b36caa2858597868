"""An image as text: a record, an argument and a log line must all come back as the same image."""

import pytest

from imageporter.model import platforms
from imageporter.model.image import Image, split_origin
from imageporter.model.platforms import Platforms
from imageporter.model.reference import Reference

SOURCE, TARGET = Reference("a.io", "app", "1"), Reference("b.io", "app", "1")


@pytest.mark.parametrize("chosen", [None, platforms.parse("linux/amd64"), platforms.parse(["linux/amd64", "linux/arm/v7"])])
@pytest.mark.parametrize("referrers", [False, True])
@pytest.mark.parametrize("key", [None, "cosign.pub", "/a key/+referrers=%20 é.pub"])
def test_an_origin_is_split_into_what_it_was_made_of(chosen: Platforms | None, referrers: bool, key: str | None) -> None:  # noqa: FBT001
    origin = Image("here", SOURCE, TARGET, chosen, referrers, key).origin
    assert split_origin(origin) == ("a.io/app:1", chosen, referrers, key)


def test_an_origin_is_the_same_in_every_version_because_records_hold_it() -> None:
    chosen = platforms.parse(["linux/amd64", "linux/arm64"])
    assert Image("here", SOURCE, TARGET).origin == "a.io/app:1"
    assert Image("here", SOURCE, TARGET, chosen, referrers=True, signed_by="my keys/a.pub").origin == (
        "a.io/app:1 [linux/amd64,linux/arm64] +referrers +signed-by=my%20keys/a.pub"
    )


@pytest.mark.parametrize(
    "options",
    ["linux/amd64 linux/arm64", "+referrers +referrers", "+signed-by=a +signed-by=b", "linux/amd64 +referrers [linux/arm64]"],
)
def test_an_origin_with_an_option_twice(options: str) -> None:
    with pytest.raises(ValueError, match=r"has an option twice$"):
        split_origin(f"a.io/app:1 {options}")


@pytest.mark.parametrize("option", ["+other", "+signed-by", "+referrer", "+referrers=1", "+"])
def test_an_origin_with_an_unknown_option(option: str) -> None:
    with pytest.raises(ValueError, match=r"has the unknown option '[+]"):
        split_origin(f"a.io/app:1 {option}")


def test_an_image_as_text() -> None:
    assert str(Image("here", SOURCE, TARGET)) == "a.io/app:1 -> b.io/app:1"


@pytest.mark.parametrize(
    ("source", "target", "both"),
    [
        (SOURCE, TARGET, True),
        (SOURCE.at("sha256:0"), TARGET.at("sha256:0"), True),
        (SOURCE, TARGET.at("sha256:0"), True),
        (Reference("a.io", "app"), TARGET, False),
        (SOURCE, Reference("b.io", "app"), False),
        (Reference("a.io", "app"), Reference("b.io", "app"), False),
    ],
)
def test_whether_an_image_names_its_tags(source: Reference, target: Reference, both: bool) -> None:  # noqa: FBT001
    assert Image("here", source, target).names_tags is both
