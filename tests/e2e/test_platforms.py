"""Platforms: a target receives an index of some platforms, or one image of an index."""

import shutil
from pathlib import Path

import pytest
from support import Hook, Registry, User

ALL = ("linux/amd64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7")


@pytest.fixture
def children(source: Registry) -> dict[str, str]:
    """An index `app:1` of ALL; the digests of its images by platform."""
    source.push_index("app:1", ALL)
    return {
        "/".join(filter(None, map(row["platform"].get, ("os", "architecture", "variant")))): row["digest"]
        for row in source.manifest("app:1")["manifests"]
    }


def write(user: User, source: Registry, target: Registry, platforms: object) -> None:
    user.write("images.json", {f"{source}/app:1": {"target": f"{target}/app", "platforms": platforms}})


def calls(notes: Path) -> list[str]:
    """The calls of crane, without the one that finds out whether it works."""
    return [line.split()[0] for line in notes.read_text().splitlines() if line != "version"]


def digests(registry: Registry, name: str) -> list[str]:
    return [row["digest"] for row in registry.manifest(name)["manifests"]]


@pytest.mark.parametrize("fast", ["true", "false"])
def test_an_index_of_some_platforms(
    user: User, source: Registry, target: Registry, children: dict[str, str], fast: str
) -> None:
    write(user, source, target, ["linux/amd64", "linux/arm64"])
    run = user.sync(FAST_LOOKUPS=fast)
    assert (run.code, run.outcomes) == (0, {f"{target}/app:1": "copied"})
    assert digests(target, "app:1") == [children["linux/amd64"], children["linux/arm64/v8"]]
    assert run.events("image.done")[0]["digest"] == target.digest("app:1") != source.digest("app:1")
    assert target.digest(f"app@{children['linux/arm/v7']}") == ""

    # unchanged: two HEAD requests, and no manifest is fetched
    crane, notes = user.noting_crane()
    run = user.sync(CRANE=crane, FAST_LOOKUPS=fast)
    assert (run.code, run.outcomes) == (0, {f"{target}/app:1": "skipped"})
    assert calls(notes) == ([] if fast == "true" else ["digest", "digest"])

    # without a record both indexes are compared, child by child, and nothing is copied
    shutil.rmtree(user.folder / "data")
    notes.write_text("")
    run = user.sync(CRANE=crane, FAST_LOOKUPS=fast)
    assert (run.code, run.outcomes) == (0, {f"{target}/app:1": "skipped"})
    assert [call for call in calls(notes) if call != "digest"] == ["manifest", "manifest"]


def test_another_image_of_a_platform_is_copied(
    user: User, source: Registry, target: Registry, children: dict[str, str]
) -> None:
    write(user, source, target, ["linux/amd64", "linux/arm/v7"])
    assert user.sync().code == 0
    assert digests(target, "app:1") == [children["linux/amd64"], children["linux/arm/v7"]]
    source.push("other:1", "another content")
    source.crane("mutate", f"{source}/other:1", "--set-platform", "linux/amd64", "--tag", f"{source}/app:linux-amd64")
    source.crane(
        *("index", "append", "--manifest", f"{source}/app:linux-amd64", "--manifest", f"{source}/app:linux-arm-v7"),
        *("--tag", f"{source}/app:1"),
    )
    assert user.sync().outcomes == {f"{target}/app:1": "copied"}
    assert digests(target, "app:1") == [source.digest("app:linux-amd64"), children["linux/arm/v7"]]
    # somebody else overwrites the target
    target.crane("copy", f"{source}/other:1", f"{target}/app:1")
    assert user.sync(TRUST_RECORDS="0").outcomes == {f"{target}/app:1": "copied"}
    assert digests(target, "app:1") == [source.digest("app:linux-amd64"), children["linux/arm/v7"]]


def test_one_image_of_an_index(user: User, source: Registry, target: Registry, children: dict[str, str]) -> None:
    write(user, source, target, "linux/arm64")
    assert user.sync().outcomes == {f"{target}/app:1": "copied"}
    assert target.digest("app:1") == children["linux/arm64/v8"]
    crane, notes = user.noting_crane()
    assert user.sync(CRANE=crane, FAST_LOOKUPS="true").outcomes == {f"{target}/app:1": "skipped"}
    assert calls(notes) == []


@pytest.mark.parametrize(
    ("platforms", "reason"),
    [
        (["linux/amd64", "linux/s390x"], "has no image for linux/s390x; it has {all}"),
        ("windows/amd64", "has no image for windows/amd64; it has {all}"),
        ("linux/arm", "has several images for linux/arm: linux/arm/v6, linux/arm/v7; name one of them, or its digest"),
    ],
)
def test_a_platform_that_is_missing(
    user: User, source: Registry, target: Registry, children: dict[str, str], platforms: object, reason: str
) -> None:
    write(user, source, target, platforms)
    run = user.sync()
    assert run.code == 1
    shown = reason.format(all=", ".join(sorted(children)))
    digest = source.digest("app:1")
    assert run.events("image.done")[0]["error"] == f"source not found: {source}/app@{digest} {shown}"
    assert run.rows[-1]["message"] == f"failed at {source}: 1 image: source not found: {shown}: {source}/app:1"
    assert target.tags("app") == []


def test_an_image_that_is_no_index(user: User, source: Registry, target: Registry) -> None:
    source.push("plain:1")
    source.crane("mutate", f"{source}/plain:1", "--set-platform", "linux/amd64", "--tag", f"{source}/app:1")
    for platforms in (["linux/amd64", "linux/arm64"], "linux/amd64"):
        write(user, source, target, platforms)
        assert user.sync().code == 0
        assert target.digest("app:1") == source.digest("app:1")
    write(user, source, target, "linux/arm64")
    run = user.sync()
    assert run.code == 1
    assert run.events("image.done")[0]["error"].endswith(" has no image for linux/arm64; it has linux/amd64")


@pytest.mark.usefixtures("children")
def test_a_dry_run(user: User, source: Registry, target: Registry) -> None:
    write(user, source, target, ["linux/amd64"])
    assert user.sync(DRY_RUN="true").outcomes == {f"{target}/app:1": "would-copy"}
    assert target.tags("app") == []


def test_a_push_keeps_the_platforms_of_its_rule(
    user: User, source: Registry, target: Registry, children: dict[str, str]
) -> None:
    write(user, source, target, ["linux/amd64"])
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/app:1")[0] == 202
        assert hook.call("/status")[1]["queue"]["waiting"][0]["source"] == f"{source}/app:1 [linux/amd64]"
    assert user.sync("--queue").outcomes == {f"{target}/app:1": "copied"}
    assert digests(target, "app:1") == [children["linux/amd64"]]
    with Hook.of(user) as hook:
        assert hook.call("/status")[1]["queue"]["images"] == 0


def test_mistakes(user: User, source: Registry, target: Registry) -> None:
    for platforms, reason in (
        ("amd64", "'amd64' is not a platform; write os/architecture, like linux/amd64 or linux/arm/v7"),
        (["linux/amd64", "linux/amd64"], "'linux/amd64' is there twice; keep one"),
        ([], "is empty; add at least one"),
        (7, "must be a platform, or a list of platforms, found a number"),
    ):
        write(user, source, target, platforms)
        run = user.run("sync.py")
        assert (run.code, run.lines[-1]) == (2, f'ERROR images.json: ["{source}/app:1"].platforms: {reason}')


def test_a_rule_that_was_changed_after_a_push_wins_in_the_full_pass(
    user: User, source: Registry, target: Registry, children: dict[str, str]
) -> None:
    user.write("images.json", {f"{source}/app:1": f"{target}/app"})
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/app:1")[0] == 202
        write(user, source, target, ["linux/amd64"])
        assert user.sync().outcomes == {f"{target}/app:1": "copied"}
        assert digests(target, "app:1") == [children["linux/amd64"]]
        assert hook.call("/status")[1]["queue"]["images"] == 0
