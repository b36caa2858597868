"""Choosing images: tag filters, names of targets, images on the command line, and --explain."""

import pytest
from support import Hook, Registry, User

TAGS = ("7.0.1", "7.2.0-rc1", "7.2.5", "7.2.5-alpine", "7.4.1", "8.0.0", "9.0.0", "latest", "nightly")


@pytest.fixture
def redis(source: Registry) -> dict[str, str]:
    """A repository `library/redis` with TAGS; its digests by tag."""
    first = source.push("library/redis:latest", "latest")
    digests = {"latest": first}
    for tag in TAGS:
        if tag != "latest":
            source.crane("tag", f"{source}/library/redis:latest", tag)
            digests[tag] = first
    return digests


def write(user: User, source: Registry, target: str, **tags: object) -> None:
    """Write a rule of the map format with `tags`."""
    user.write("images.json", {f"{source}/library/redis": {"target": target, "tags": tags}})


@pytest.mark.usefixtures("redis")
def test_versions_exclusions_and_the_newest(user: User, source: Registry, target: Registry) -> None:
    write(user, source, f"{target}/redis", semver=">=7 <9", exclude=["/alpine/", "*-rc*"], newest=2, include=["latest"])
    run = user.sync(LOG_LEVEL="DEBUG")
    assert run.code == 0
    assert sorted(target.tags("redis")) == ["7.4.1", "8.0.0", "latest"]
    counts = [row["message"] for row in run.rows if " after semver" in row["message"]]
    assert counts == [
        f'["{source}/library/redis"].target: 9 listed, 4 after semver, 4 after exclude, 2 after newest, 3 after include'
    ]


@pytest.mark.usefixtures("redis")
def test_a_prerelease_if_the_range_names_it(user: User, source: Registry, target: Registry) -> None:
    write(user, source, f"{target}/redis", semver=">=7.2.0-rc1 <7.3")
    assert user.sync().code == 0
    assert sorted(target.tags("redis")) == ["7.2.0-rc1", "7.2.5"]


@pytest.mark.usefixtures("redis")
def test_the_version_of_a_group(user: User, source: Registry, target: Registry) -> None:
    write(user, source, f"{target}/redis", match="/^v?(.+)-alpine$/", semver="7.x")
    assert user.sync().code == 0
    assert target.tags("redis") == ["7.2.5-alpine"]


@pytest.mark.usefixtures("redis")
def test_names_alone_list_nothing(user: User, source: Registry, target: Registry) -> None:
    crane, notes = user.noting_crane()
    write(user, source, f"{target}/redis", include=["7.4.1", "9.0.0", "nightly"], exclude="nightly")
    assert user.sync(CRANE=crane).code == 0
    assert sorted(target.tags("redis")) == ["7.4.1", "9.0.0"]
    assert not [line for line in notes.read_text().splitlines() if line.startswith("ls ")]


@pytest.mark.usefixtures("redis")
def test_fewer_tags_than_min_are_a_failure(user: User, source: Registry, target: Registry) -> None:
    write(user, source, f"{target}/redis", semver="9.x", min=2)
    run = user.sync()
    assert run.code == 1
    failed = [row["error"] for row in run.events("image.done") if row["outcome"] == "failed"]
    assert failed == ["takes 1 tag, and `min` is 2; sync.py --explain shows what drops the others"]
    assert target.tags("redis") == ["9.0.0"]


@pytest.mark.usefixtures("redis")
def test_a_row_with_tags_and_defaults(user: User, source: Registry, target: Registry) -> None:
    """`defaults` complete a rule key by key, and leave rules alone that name their tags."""
    images = [
        {"source": f"{source}/library/redis", "target": f"{target}/rows/redis", "tags": {"semver": "9.x"}},
        {"source": f"{source}/library/redis:nightly", "target": f"{target}/one/redis:nightly"},
    ]
    user.write("config.json", {"images": images, "defaults": {"tags": {"newest": 1}}})
    assert user.sync().code == 0
    assert (target.tags("rows/redis"), target.tags("one/redis")) == (["9.0.0"], ["nightly"])
    images_map = {f"{source}/library/redis": f"{target}/map/redis"}
    user.write("config.json", {"images": images_map, "defaults": {"tags": {"newest": 1, "semver": "*"}}})
    assert user.sync().code == 0
    assert target.tags("map/redis") == ["9.0.0"]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mirror/", {}, "mirror/library/redis:7.4.1"),
        ("mirror/", {"flatten": "-"}, "mirror/library-redis:7.4.1"),
        ("{name}/of/{repository}:{tag}-copy", {}, "redis/of/library/redis:7.4.1-copy"),
        ("all:{name}-{tag}", {}, "all:redis-7.4.1"),
        ("from/{registry}/{name}", {}, "from/127.0.0.1-PORT/redis:7.4.1"),
    ],
)
def test_names_of_targets(
    user: User, source: Registry, target: Registry, redis: dict[str, str], name: str, options: dict[str, str], expected: str
) -> None:
    user.write("images.json", [{"source": f"{source}/library/redis:7.4.1", "target": f"{target}/{name}", **options}])
    assert user.sync().code == 0
    assert target.digest(expected.replace("PORT", source.address.partition(":")[2])) == redis["7.4.1"]


def test_a_name_that_no_registry_can_have_is_reported_before_anything_is_copied(user: User, target: Registry) -> None:
    rules = [
        {"source": "quay.io/a/b/cc:1", "target": "docker.io/me/"},
        {"source": "quay.io/a/b/cc:1", "target": f"{target}/{{colour}}/x1"},
        {"source": "quay.io/a/b/cc:1", "target": f"{target}/x1", "flatten": "/"},
        {"source": "quay.io/a/b/cc", "target": f"{target}/x1", "tags": {"newest": 0, "oldest": 1}},
        {"source": "quay.io/a/b/cc:1", "target": f"{target}/x1", "tags": {"semver": "1.x"}},
    ]
    user.write("images.json", rules)
    run = user.run("sync.py")
    assert run.code == 2
    assert run.lines[1:] == [
        "ERROR images.json: [0].target: 'docker.io/me/a/b/cc' cannot be on Docker Hub, where a name has one or two parts; "
        "correct it",
        f"ERROR images.json: [1].target: '{target}/{{colour}}/x1' has '{{colour}}'; the keys are {{registry}}, "
        "{repository}, {name} and {tag}",
        "ERROR images.json: [2].flatten: '/' cannot join the components of a path; write '-', '_', '__' or '.'",
        "ERROR images.json: [3].tags.newest: must be at least 1",
        "ERROR images.json: [3].tags.oldest: is not a known key; the keys are match, semver, exclude, include, sort, newest "
        "and min",
        "ERROR images.json: [4].target: 'quay.io/a/b/cc:1' chooses tags, and so does `tags`; leave out one or the other",
    ]


def test_one_name_for_two_sources_is_rejected(user: User, source: Registry, target: Registry) -> None:
    rows = [{"source": f"{source}/{name}:1", "target": f"{target}/all:{{tag}}"} for name in ("first", "second")]
    user.write("images.json", rows)
    run = user.run("sync.py")
    assert (run.code, run.lines[-1]) == (
        2,
        f"ERROR images.json: [1].target: {target}/all:1 is the target at [0].target already; keep one",
    )


@pytest.mark.usefixtures("redis")
def test_images_on_the_command_line(user: User, source: Registry, target: Registry) -> None:
    user.images(("nobody.test/never:1", f"{target}/never:1"))
    run = user.sync(f"{source}/library/redis:8.0.0", f"{target}/one:8", f"{source}/library/redis:9.0.0", f"{target}/copies/")
    assert run.code == 0
    assert set(run.outcomes) == {f"{target}/one:8", f"{target}/copies/library/redis:9.0.0"}
    run = user.run("sync.py", f"{source}/library/redis:8.0.0")
    assert run.code == 2
    found = f"found an odd number of them ({source}/library/redis:8.0.0)"
    assert run.output.endswith(f"sync.py: error: each image has a source and a target, {found}\n")
    run = user.run("sync.py", "--explain", "a.io/bb:1", "b.io/bb:1")
    assert run.output.endswith(", found an odd number of them (b.io/bb:1); --explain took 'a.io/bb:1' as its image\n")
    run = user.run("sync.py", "--images", "images.json", "A:1", "b.io/bb")
    assert run.code == 2
    assert run.lines[-2:] == [
        "ERROR --images: 'images.json' is given beside images on the command line; give one or the other",
        "ERROR command line: [0].source: 'A:1' is not an image reference (host/repository:tag); a repository is written in "
        "small letters",
    ]


@pytest.mark.usefixtures("redis")
def test_images_on_the_command_line_are_instead_of_those_in_the_files_of_the_environment(
    user: User, source: Registry, guarded: Registry
) -> None:
    name, password = guarded.account or ("", "")
    never = {f"{source}/never:1": f"{guarded}/never:1"}
    auth = {str(guarded): {"username": name, "password": password}}
    image = f"{source}/library/redis:8.0.0"
    user.write("never.json", never)
    user.write("both.json", {"auth": auth, "images": never, "defaults": {"platforms": ["plan9/mips"]}})
    for number, (variable, file) in enumerate((("IMAGES_FILE", "never.json"), ("CONFIG_FILE", "both.json"))):
        wanted = f"{guarded}/line:{number}"
        user.write("accounts.json", auth if variable == "IMAGES_FILE" else {})
        run = user.sync(image, wanted, **{variable: file}, **guarded.environ)
        assert (run.code, run.outcomes) == (0, {wanted: "copied"}), "the accounts are those of the files"


@pytest.mark.usefixtures("redis")
def test_explain(user: User, source: Registry, target: Registry) -> None:
    write(user, source, f"{target}/redis", semver=">=7 <9", exclude=["*-alpine"], newest=2, include=["latest"])
    rule = f"'{source}/library/redis' -> '{target}/redis'"
    location = f'["{source}/library/redis"].target'
    run = user.run("sync.py", "--explain")
    assert run.code == 0
    assert run.output.splitlines() == [
        f"{location}: {rule}",
        "  9 listed, 4 after semver, 4 after exclude, 2 after newest, 3 after include",
        *(f"  {source}/library/redis:{tag} -> {target}/redis:{tag}" for tag in ("7.4.1", "8.0.0", "latest")),
    ]
    for tag, fate in {
        "7.2.0-rc1": "dropped by semver: it is not in '>=7 <9'; a prerelease is only taken if the range names one of the same "
        "version, as '>=7.2.0-rc1' does",
        "7.2.5": "dropped by newest: it is not among the newest 2 by semver",
        "nightly": "dropped by semver: it is not a version",
        "1.0": "not taken, because the repository does not list it",
    }.items():
        run = user.run("sync.py", "--explain", f"{source}/library/redis:{tag}")
        assert run.output.splitlines() == [f"{location}: {rule}", f"  {source}/library/redis:{tag}: {fate}"]
    run = user.run("sync.py", "--explain", f"{source}/library/redis:latest")
    assert run.output.splitlines()[1:] == [f"  {source}/library/redis:latest -> {target}/redis:latest"]
    run = user.run("sync.py", "--explain", f"{source}/other:1")
    assert (run.code, run.output.splitlines()) == (1, [f"no rule has the source {source}/other"])
    assert target.tags("redis") == []
    assert not (user.folder / "data" / "report.json").exists()


@pytest.mark.usefixtures("redis")
def test_explain_shows_what_a_pass_would_refuse(user: User, source: Registry, target: Registry) -> None:
    key = user.write("cosign.pub", "-----BEGIN PUBLIC KEY-----")
    redis = f"{source}/library/redis"
    rows = {
        redis: {
            "target": f"{target}/one:{{tag}}",
            "tags": {"match": "/^8/", "min": 2},
            "platforms": ["linux/amd64", "linux/arm64"],
            "referrers": True,
            "signed": {"key": key.name},
        },
        f"{redis}:8.0.0": f"{target}/one:8.0.0",
        f"{redis}:7.2.5,7.4.1": f"{target}/two:7,8",
    }
    user.write("images.json", rows)
    run = user.run("sync.py", "--explain")
    lines = run.output.splitlines()
    assert (run.code, lines) == (
        1,
        [
            f"[\"{redis}\"].target: '{redis}' -> '{target}/one:{{tag}}' "
            "(platforms [linux/amd64,linux/arm64], with referrers, only if signed with cosign.pub)",
            "  9 listed, 1 after match",
            f"  {redis}:8.0.0 -> {target}/one:8.0.0",
            "  failed: takes 1 tag, and `min` is 2; sync.py --explain shows what drops the others",
            f"[\"{redis}:8.0.0\"]: '{redis}:8.0.0' -> '{target}/one:8.0.0'",
            f'  failed: {redis}:8.0.0 -> {target}/one:8.0.0: is the target of ["{redis}"].target already, and of '
            f'["{redis}:8.0.0"]; keep one',
            f"[\"{redis}:7.2.5,7.4.1\"]: '{redis}:7.2.5,7.4.1' -> '{target}/two:7,8'",
            f"  {redis}:7.2.5 -> {target}/two:7",
            f"  {redis}:7.4.1 -> {target}/two:8",
        ],
    )


def test_explain_of_a_repository_that_cannot_be_listed(user: User, source: Registry, target: Registry) -> None:
    user.write("images.json", {f"{source}/gone": f"{target}/gone"})
    run = user.run("sync.py", "--explain")
    assert run.code == 1
    assert run.output.splitlines()[-1].startswith("  failed: source not found: ")


def test_a_push_of_a_tag_that_a_filter_drops(user: User, source: Registry, target: Registry) -> None:
    write(user, source, f"{target}/redis", semver=">=7 <9", exclude=["*-alpine"], newest=1)
    with Hook.of(user) as hook:
        name = f"{source}/library/redis"
        assert hook.hook(f"{name}:7.2.5")[0] == 202
        for tag, reason in {
            "7.2.5-alpine": "semver: it is not in '>=7 <9'; a prerelease is only taken if the range names one of the same "
            "version, as '>=7.2.0-rc1' does",
            "9.1.0": "semver: it is not in '>=7 <9'",
        }.items():
            ignored = [f"{name}:{tag} is dropped by {reason}"]
            assert hook.hook(f"{name}:{tag}") == (200, {"queued": [], "already": [], "ignored": ignored})
