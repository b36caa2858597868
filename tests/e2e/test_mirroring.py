"""Rules over whole repositories, against real registries; and the files that image-syncer's users have."""

import json

import pytest
from support import UNSET, Proxy, Registry, User, free_port

REPOSITORIES = ("one", "two", "three")


@pytest.fixture
def filled(source: Registry) -> dict[str, str]:
    """Three repositories of 20 tags, and one tag that is another's digest; the digests by name."""
    digests = {}
    for number, repository in enumerate(REPOSITORIES):
        digest = source.push(f"lib/{repository}:v{number}.0", repository)
        for minor in range(20):
            source.crane("tag", f"{source}/lib/{repository}:v{number}.0", f"v{number}.{minor}")
            digests[f"lib/{repository}:v{number}.{minor}"] = digest
        source.crane("tag", f"{source}/lib/{repository}:v{number}.0", digest.replace(":", "-") + ".sig")
    return digests


def test_every_tag_of_three_repositories(user: User, source: Registry, target: Registry, filled: dict[str, str]) -> None:
    user.write("images.yaml", "".join(f"{source}/lib/{name}: {target}/mirror/{name}\n" for name in REPOSITORIES))
    run = user.sync()
    assert run.code == 0
    start = run.events("pass.start")[0]
    assert (start["images"], start["rules"]) == (0, 3)
    assert run.events("pass.done")[0]["copied"] == len(filled) == 60
    for name, digest in filled.items():
        assert target.digest(name.replace("lib/", "mirror/")) == digest
    assert sorted(target.tags("mirror/one")) == sorted(f"v0.{minor}" for minor in range(20))
    assert user.sync().events("pass.done")[0]["skipped"] == 60


def test_patterns_lists_digests_and_several_targets(
    user: User, source: Registry, target: Registry, filled: dict[str, str]
) -> None:
    digest = filled["lib/two:v1.0"]
    user.write(
        "images.json",
        {
            f"{source}/lib/one:/^v0\\.1\\d$/": f"{target}/patterned",
            f"{source}/lib/two:v1.0,v1.1": f"{target}/renamed:old,new",
            f"{source}/lib/two@{digest}": [f"{target}/pinned", f"{target}/pinned:named"],
            f"{source}/lib/three:v2.7": [f"{target}/first", f"{target}/second:seven"],
        },
    )
    assert user.sync().code == 0
    assert sorted(target.tags("patterned")) == [f"v0.1{last}" for last in range(10)]
    assert sorted(target.tags("renamed")) == ["new", "old"]
    assert target.tags("pinned") == ["named"]
    assert target.digest(f"pinned@{digest}") == digest
    assert target.digest("first:v2.7") == target.digest("second:seven") == filled["lib/three:v2.7"]
    assert set(user.sync().outcomes.values()) == {"skipped"}


def test_a_digest_alone_can_be_pulled_by_that_digest(user: User, source: Registry, target: Registry) -> None:
    digest = source.push_index("app:1")
    user.write("images.json", {f"{source}/app@{digest}": f"{target}/app"})
    run = user.sync()
    assert run.outcomes == {f"{target}/app@{digest}": "copied"}
    assert target.tags("app") == []
    target.crane("validate", "--remote", f"{target}/app@{digest}")


def test_tags_are_listed_once_a_repository(user: User, source: Registry, target: Registry, filled: dict[str, str]) -> None:
    assert filled
    listed = []

    def count(request: bytes) -> None:
        if b"/tags/list" in request:
            listed.append(request.split(b" ")[1])

    host = Proxy(source, count)
    user.write(
        "images.json",
        {f"{host}/lib/one:/{part}$/": f"{target}/one{part}" for part in range(6)} | {f"{host}/lib/two": f"{target}/two"},
    )
    run = user.sync()
    assert run.code == 0
    assert run.events("pass.done")[0]["copied"] == 6 * 2 + 20
    assert sorted(listed) == [b"/v2/lib/one/tags/list?n=1000", b"/v2/lib/two/tags/list?n=1000"]


def test_a_rule_that_cannot_be_expanded_is_one_failed_image(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    nowhere = f"127.0.0.1:{free_port()}"
    user.write(
        "images.json",
        {
            f"{source}/gone": f"{target}/gone",
            f"{source}/gone:/x/": f"{target}/other",
            f"{nowhere}/app": f"{target}/nowhere",
            f"{source}/app": f"{target}/app",
            f"{source}/app:/^nothing/": f"{target}/nothing",
        },
    )
    run = user.sync(RETRIES="1")
    assert run.code == 1
    outcomes = {
        f"{target}/gone": "failed",
        f"{target}/other": "failed",
        f"{target}/nowhere": "failed",
        f"{target}/app:1": "copied",
    }
    assert run.outcomes == outcomes
    errors = {row["target"]: (row["error"], row["attempt"]) for row in run.events("image.done") if "error" in row}
    url = f"GET http://{source}/v2/gone/tags/list?n=1000"
    reason = f"source not found: reading tags for {source}/gone: {url}: NAME_UNKNOWN: Unknown name"
    assert errors[f"{target}/gone"] == errors[f"{target}/other"] == (reason, 1)
    assert errors[f"{target}/nowhere"][0].startswith("source unreachable: ")
    assert errors[f"{target}/nowhere"][1] == 2
    rule = f'["{source}/app:/^nothing/"]'
    wanted = f"{rule}: '{source}/app:/^nothing/' -> '{target}/nothing' matches no tag"
    assert [row["message"] for row in run.rows if row["level"] == "WARNING" and "matches" in row["message"]] == [wanted]


def test_two_rules_that_meet_in_one_target(user: User, source: Registry, target: Registry) -> None:
    first = source.push("first:v1", "first")
    source.push("second:v1", "second")
    user.write("images.json", {f"{source}/first": f"{target}/app", f"{source}/second:/^v/": f"{target}/app"})
    run = user.sync()
    assert run.code == 1
    rows = [(row["source"], row["outcome"], row.get("error")) for row in run.events("image.done")]
    meeting = f'is the target of ["{source}/first"] already, and of ["{source}/second:/^v/"]; keep one'
    assert sorted(rows) == [(f"{source}/first:v1", "copied", None), (f"{source}/second:v1", "failed", meeting)]
    assert target.digest("app:v1") == first

    user.write("images.json", {f"{source}/first:v1": f"{target}/app", f"{source}/second:v1": f"{target}/app"})
    run = user.run("sync.py")
    assert run.code == 2
    line = f'images.json: ["{source}/second:v1"]: {target}/app:v1 is the target at ["{source}/first:v1"] already; keep one'
    assert run.lines[-1] == f"ERROR {line}"


@pytest.mark.parametrize("name", ["config.json", "config.yaml", "elsewhere/both.yml"])
def test_accounts_and_images_in_one_file(user: User, source: Registry, guarded: Registry, name: str) -> None:
    digest = source.push("app:1")
    assert guarded.account
    (user.folder / "elsewhere").mkdir()
    who, word = guarded.account
    both = {
        "auth": {str(guarded): {"username": who, "password": "${WORD}"}},
        "images": {f"{source}/app": f"{guarded}/combined/app"},
    }
    user.write(name, both)  # JSON is YAML too
    for flags, env in (((), {}), (("-c", name), {}), (("--config", name), {}), ((), {"CONFIG_FILE": name})):
        if name.startswith("config") or flags or env:
            run = user.sync(*flags, WORD=word, **env, **guarded.environ)
            assert run.code == 0, run.output
    assert guarded.digest("combined/app:1") == digest
    run = user.run("sync.py", "-c", name)
    assert run.code == 2
    words = "names WORD, which is not set; set it, or write $$ for a dollar sign"
    assert run.lines == [f'ERROR {name}: auth["{guarded}"].password: {words}']


def test_mistakes_in_a_combined_file(user: User) -> None:
    user.write(
        "config.yaml", "auth: {quay.io: {username: a}}\nimages: {'a:1,2': 'b:1', c: 4}\nsync: {routineNum: 0}\nimage: {}\n"
    )
    run = user.run("sync.py")
    assert run.code == 2
    assert run.lines == [
        "ERROR config.yaml: sync.routineNum: must be at least 1",
        "ERROR config.yaml: holds a key that is not known; the keys are auth, images, defaults and sync",
    ]
    user.write("config.yaml", "auth: {quay.io: {username: a}}\nimages: {'a:1,2': 'b:1', c: 4}\n")
    assert user.run("sync.py", "--images", "x.json", "-c", "config.yaml").lines == [
        "ERROR IMAGES_FILE: 'x.json' is given beside config.yaml, which holds the same; give one or the other",
        'ERROR config.yaml: auth["quay.io"].password: is missing; add it',
        "ERROR config.yaml: images[\"a:1,2\"]: 'a:1,2' -> 'b:1' has 2 on the left and 1 on the right; "
        "write as many tags, or none, on the right",
        "ERROR config.yaml: images.c: must be a reference, a list of references, or an object with a target, found a number",
    ]


def test_image_syncers_own_file_gives_what_neither_flag_nor_environment_does(user: User) -> None:
    user.write("images.json", [])
    (user.folder / "configs").mkdir()
    user.write(
        "configs/sync.yaml",
        "app: {port: ':8080'}\nauth: {Username: sync, Password: x}\nsync: {routineNum: 300, retryCount: 2}\n",
    )
    for flags in ((), ("-c", "configs/sync.yaml")):
        run = user.run("sync.py", *flags)
        assert run.code == 2
        words = "sync.routineNum: must be at most 256"
        assert f"ERROR configs/sync.yaml: {words}" in run.lines
    user.write("configs/sync.yaml", "sync: {routineNum: 1, retryCount: 2}\n")
    user.images((f"127.0.0.1:{free_port()}/app", "localhost:1/app"))
    assert user.sync("--jobs", "2", RETRIES="1").events("image.done")[0]["attempt"] == 2
    assert user.sync(RETRIES=UNSET).events("image.done")[0]["attempt"] == 3


def test_a_combined_file_without_accounts_leaves_them_to_their_own_file(
    user: User, source: Registry, guarded: Registry
) -> None:
    digest = source.push("app:1")
    user.accounts(guarded)
    user.write("config.json", {"images": {f"{source}/app": f"{guarded}/left/app"}})
    assert user.sync(**guarded.environ).code == 0
    assert guarded.digest("left/app:1") == digest


def test_slips_in_a_combined_file_are_not_taken_for_the_hooks(user: User) -> None:
    user.write("images.json", [])
    user.write("cfg.yaml", "auth: {a.io: {username: u, password: pppp}}\nsync: {routineNum: 2}\nimage: {}\n")
    run = user.run("sync.py", "-c", "cfg.yaml")
    assert run.code == 2
    assert run.lines == [
        "ERROR cfg.yaml: images: is missing; add it",
        "ERROR cfg.yaml: holds a key that is not known; the keys are auth, images, defaults and sync",
    ]
    user.write("cfg.yaml", "auth: false\nimages: {}\n")
    assert user.run("sync.py", "-c", "cfg.yaml").lines == ["ERROR cfg.yaml: auth: must be a list, found a boolean"]


def test_a_registry_that_lists_what_is_no_tag(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    body = json.dumps({"name": "app", "tags": ["1", "a b", "x/../y", "nul\0", "n\nl", "long" * 50]})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    proxy = Proxy(source, lambda request: (head + body).encode() if b"/tags/list" in request else None)
    user.write("images.json", {f"{proxy}/app": f"{target}/app"})
    run = user.sync()
    assert "unexpected" not in run.output
    assert target.digest("app:1") == digest
    assert target.tags("app") == ["1"]


def test_no_pattern_hangs_a_pass(user: User, source: Registry, target: Registry) -> None:
    """Other regular expressions go back and forth over these for ever; the tag is the registry's choice."""
    digest = source.push("app:1")
    for tag in ("2026010112345678901234567890123456-rc", "a" * 100 + "b"):
        source.crane("tag", f"{source}/app:1", tag)
    user.write(
        "images.json",
        {f"{source}/app:/^([0-9]+\\.?)+$/": f"{target}/one", f"{source}/app:/(a+)+$/": f"{target}/two"},
    )
    run = user.sync()
    assert run.code == 0, run.output
    assert target.tags("one") == ["1"]
    assert target.tags("two") == []
    assert target.digest("one:1") == digest


def test_patterns_are_those_of_image_syncer(user: User, source: Registry, target: Registry) -> None:
    source.push("app:v1")
    source.push("app:latest")
    user.write("images.json", {f"{source}/app:/^v[[:digit:]]+$/": f"{target}/app"})
    assert user.sync().code == 0
    assert target.tags("app") == ["v1"]
    user.write("images.json", {f"{source}/app:/^(?!v)/": f"{target}/app", f"{source}/app:/(v)\\1/": f"{target}/app"})
    run = user.run("sync.py")
    assert run.code == 2
    advice = (
        "which RE2 does not support (no look-ahead, look-behind or back-references); "
        "write a pattern of the tags to take, or list them: repository:tag,tag"
    )
    for pattern, found in (("^(?!v)", "(?!"), (r"(v)\1", r"\1")):
        key = json.dumps(f"{source}/app:/{pattern}/", ensure_ascii=False).replace("\\\\", "\\")
        text = f"{source}/app:/{pattern}/"
        assert f"ERROR images.json: [{key}]: {text!r} has a pattern with {found!r}, {advice}" in run.lines
