"""One pass of sync.py between real registries, run as a user runs it."""

import json
import subprocess
import sys
from typing import Any

import pytest
from support import BUNDLE, Proxy, Registry, Stall, User, descendants, wait_for


def test_copies_then_skips_then_copies_what_changed(user: User, source: Registry, target: Registry) -> None:
    first, second = source.push("app/one:1", "one"), source.push("app/two:1", "two")
    user.images((f"{source}/app/one:1", f"{target}/mirror/one:1"), (f"{source}/app/two:1", f"{target}/mirror/two:1"))

    run = user.sync()
    assert run.code == 0
    assert run.outcomes == {f"{target}/mirror/one:1": "copied", f"{target}/mirror/two:1": "copied"}
    assert (target.digest("mirror/one:1"), target.digest("mirror/two:1")) == (first, second)

    run = user.sync()
    assert run.code == 0
    assert set(run.outcomes.values()) == {"skipped"}

    changed = source.push("app/two:1", "two, changed")
    run = user.sync()
    assert run.code == 0
    assert run.outcomes == {f"{target}/mirror/one:1": "skipped", f"{target}/mirror/two:1": "copied"}
    assert target.digest("mirror/two:1") == changed != second


def test_an_index_keeps_its_digest_and_all_its_children(user: User, source: Registry, target: Registry) -> None:
    digest = source.push_index("app/multi:1")
    user.images((f"{source}/app/multi:1", f"{target}/mirror/multi:1"))

    assert user.sync().code == 0

    assert target.digest("mirror/multi:1") == digest
    children = target.manifest("mirror/multi:1")["manifests"]
    assert [child["platform"]["architecture"] for child in children] == ["amd64", "arm64"]
    for child in children:
        assert target.digest(f"mirror/multi@{child['digest']}") == child["digest"]
    target.crane("validate", "--remote", f"{target}/mirror/multi:1")


def test_one_source_goes_to_a_list_of_targets(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:latest")
    user.images((f"{source}/app", [f"{target}/first", f"{target}/second:2"]))

    assert user.sync().code == 0
    assert target.digest("first:latest") == target.digest("second:2") == digest


def test_a_source_by_digest(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1", "old")
    source.push("app:1", "new")
    user.images((f"{source}/app@{digest}", f"{target}/app:pinned"))

    assert user.sync().code == 0
    assert target.digest("app:pinned") == digest


def test_dry_run_compares_and_copies_nothing(user: User, source: Registry, target: Registry) -> None:
    equal = source.push("equal:1", "equal")
    target.push("equal:1", "equal")
    source.push("new:1", "new")
    user.images((f"{source}/equal:1", f"{target}/equal:1"), (f"{source}/new:1", f"{target}/new:1"))

    for run in (user.sync(DRY_RUN="true"), user.sync("--dry-run")):
        assert run.code == 0
        assert run.events("pass.start")[0]["dry_run"] is True
        assert run.outcomes == {f"{target}/equal:1": "skipped", f"{target}/new:1": "would-copy"}
        assert target.digest("new:1") == ""
        done = run.events("pass.done")[0]
        assert (done["copied"], done["skipped"], done["failed"], done["would_copy"]) == (0, 1, 0, 1)
    assert target.digest("equal:1") == equal


def report(user: User, name: str = "report.json") -> Any:
    return json.loads((user.folder / "data" / name).read_text())


def test_a_dry_run_has_a_report_of_its_own(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync("--dry-run").code == 0
    assert not (user.folder / "data" / "report.json").exists()
    assert user.sync().code == 0
    before = report(user)
    assert user.sync("--dry-run").code == 0
    assert report(user) == before
    assert (before["dry_run"], before["copied"], before["would_copy"]) == (False, 1, 0)
    dry = report(user, "report-dry-run.json")
    assert (dry["dry_run"], dry["copied"], dry["skipped"], dry["exit_code"]) == (True, 0, 1, 0)


def test_a_dry_run_warns_of_a_target_that_refuses_the_account(
    user: User, source: Registry, guarded: Registry, target: Registry
) -> None:
    source.push("app:1")
    user.images(
        *((f"{source}/app:1", f"{guarded}/dry{number}:1") for number in range(4)), (f"{source}/app:1", f"{target}/a1:1")
    )
    doubt = "the copy may fail, too, but some registries answer 401 or 403 for a repository that does not exist yet"
    for accounts, account in (([], "no account for {}"), ([{"username": "eve", "password": "x"}], "as eve")):
        user.write("accounts.json", [{"registry": str(guarded), **row} for row in accounts])
        run = user.sync("--dry-run", **guarded.environ)
        assert run.code == 0
        warned = [row for row in run.events("image.done") if row["level"] == "WARNING"]
        who = account.format(guarded)
        for row in warned:
            assert row["outcome"] == "would-copy"
            assert row["warning"].startswith("target unauthorised: ")
            assert row["warning"].endswith(f" ({who})")
            assert row["message"] == (f"would-copy {source}/app:1 -> {row['target']}: {row['warning']}; {doubt}")
        assert {row["target"] for row in warned} == {f"{guarded}/dry{number}:1" for number in range(4)}
        summary = f"would-copy at {guarded}: 4 images: target unauthorised ({who}); {doubt}: "
        named = ", ".join(f"{guarded}/dry{number}:1" for number in range(3))
        assert run.rows[-1]["message"] == f"{summary}{named}, and 1 more"
        assert run.rows[-1]["level"] == "INFO"
        assert [row.get("warning") for row in report(user, "report-dry-run.json")["images"]][-1] is None


def test_a_run_that_could_not_start_is_reported(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync().code == 0
    run = user.sync(JOBS="many", PROBES="0")
    assert run.code == 2
    found = report(user)
    assert (found["exit_code"], found["copied"], found["images"]) == (2, 0, [])
    assert found["problems"] == [
        "JOBS: 'many' is not a whole number from 1 to 256",
        "PROBES: '0' is not a whole number from 1 to 256",
    ]
    assert user.sync("--queue", JOBS="many").code == 2
    assert report(user, "report-queue.json")["exit_code"] == 2
    assert user.sync("--queue").code == 0  # nothing is queued
    assert report(user, "report-queue.json")["exit_code"] == 0
    (user.folder / "data" / "queue.db").mkdir()
    assert user.sync("--queue").code == 2
    assert report(user, "report-queue.json")["problems"][0].startswith("DATA_DIR: data/queue.db cannot be used: ")
    (user.folder / "data" / "queue.db").rmdir()
    assert user.sync().code == 0
    assert report(user)["exit_code"] == 0
    # crane refuses an account
    user.write("accounts.json", [{"registry": "x.example", "username": "me", "password": "secret"}])
    crane = user.crane_wrapper('case $1 in auth) echo "Error: no" >&2; exit 1;; esac; exec "$CRANE" "$@"')
    assert user.sync(CRANE=crane).code == 2
    assert (report(user)["exit_code"], report(user)["problems"]) == (2, ["x.example: login failed: no"])


def test_a_pass_that_another_one_excludes_is_reported_until_that_one_ends(
    user: User, source: Registry, target: Registry
) -> None:
    source.push("app:1")
    stall = Stall(b"/blobs/uploads/")
    proxy = Proxy(target, stall)
    user.images((f"{source}/app:1", f"{proxy}/app:1"))
    with user.running("sync.py") as running:
        wait_for(lambda: stall.held, "the copy is held")
        assert user.sync().code == 75
        assert report(user)["exit_code"] == 75
        assert report(user)["problems"] == ["another pass is running: it holds data/lock; this one does not start"]
        assert user.sync("--queue").code == 0  # nothing is queued
        stall.release.set()
        assert running.process.wait(timeout=60) == 0
    assert (report(user)["exit_code"], report(user)["copied"]) == (0, 1)


def test_the_summary_groups_failures_by_registry_and_reason(
    user: User, source: Registry, target: Registry, guarded: Registry
) -> None:
    source.push("app:1")
    user.images(
        *((f"{source}/gone{number}:1", f"{target}/gone{number}:1") for number in range(5)),
        (f"{source}/app:1", f"{guarded}/app:1"),
    )
    run = user.run("sync.py", **guarded.environ)
    assert run.code == 1
    start = next(number for number, line in enumerate(run.lines) if " pass done: " in line)
    assert run.lines[start + 1 :] == [
        f"INFO failed at {source}: 5 images: source not found: "
        f"{source}/gone0:1, {source}/gone1:1, {source}/gone2:1, and 2 more",
        f"INFO failed at {guarded}: 1 image: target unauthorised (no account for {guarded}): {guarded}/app:1",
        f"WARNING no accounts file was found, and anonymous access is refused: {guarded}; "
        "write the account into accounts.json",
    ]
    # each failure appears once
    run = user.run("sync.py", LOG_LEVEL="WARNING", **guarded.environ)
    assert [line.split()[1] for line in run.lines if "gone" in line] == ["failed"] * 5


def test_the_text_log_and_the_report(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"), (f"{source}/gone:1", f"{target}/gone:1"))

    run = user.run("sync.py", JOBS="1", PROBES="1", TZ="Asia/Shanghai")
    assert run.code == 1
    copied, gone = f"{source}/app:1 -> {target}/app:1", f"{source}/gone:1 -> {target}/gone:1"
    reason = f"source not found: GET http://{source}/v2/gone/manifests/1: NAME_UNKNOWN: Unknown name"
    lines = run.lines
    assert lines[0] == "INFO no accounts file found: all registries are accessed anonymously"
    assert lines[1] == "INFO pass of 2 images"
    assert lines[2].startswith(f"INFO copied     {copied} ({digest[:19]}, ")
    assert lines[3] == f"ERROR failed     {gone}: {reason}"
    assert lines[4].startswith("WARNING pass done: 1 copied, 0 skipped, 1 failed in ")
    assert lines[5:] == [f"INFO failed at {source}: 1 image: source not found: {source}/gone:1"]

    report = json.loads((user.folder / "data" / "report.json").read_text())
    assert (report["copied"], report["failed"], report["exit_code"]) == (1, 1, 1)
    assert report["started"].endswith("+08:00")
    assert [row["outcome"] for row in report["images"]] == ["copied", "failed"]
    assert report["images"][0]["digest"] == digest
    assert report["images"][1]["error"] == reason
    assert [line for line in user.run("sync.py", LOG_LEVEL="WARNING").lines if "gone" in line] == [lines[3]]


def test_the_json_log(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))

    rows = user.sync(TZ="Asia/Shanghai").rows
    for row in rows:
        assert row["timestamp"].endswith("+08:00")
        assert {"timestamp", "level", "message"} <= row.keys()
    start, image, done = rows[1:]
    assert (start["event"], start["images"]) == ("pass.start", 1)
    assert image["event"] == "image.done"
    assert (image["source"], image["target"], image["digest"]) == (f"{source}/app:1", f"{target}/app:1", digest)
    assert (image["outcome"], image["attempt"]) == ("copied", 1)
    assert image["seconds"] > 0
    assert (done["event"], done["copied"], done["skipped"], done["failed"], done["would_copy"]) == ("pass.done", 1, 0, 0, 0)


def test_empty_lists_are_a_pass_of_nothing(user: User) -> None:
    user.write("images.json", [])
    user.write("accounts.json", [])
    run = user.sync()
    assert run.code == 0
    assert run.events("pass.done")[0]["copied"] == 0
    assert [row["message"] for row in run.rows if row["level"] == "WARNING"] == ["images.json has no images"]


def test_yaml_files_and_files_named_by_variable_or_flag(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.write("images.yaml", f"- source: {source}/app:1\n  target: {target}/yaml:1\n")
    assert user.sync().outcomes == {f"{target}/yaml:1": "copied"}

    user.write("other.json", [{"source": f"{source}/app:1", "target": f"{target}/variable:1"}])
    assert user.sync(IMAGES_FILE="other.json").outcomes == {f"{target}/variable:1": "copied"}

    user.write("another.yml", f"[{{source: '{source}/app:1', target: ['{target}/flag:1']}}]")
    assert user.sync("--images", "another.yml", IMAGES_FILE="other.json").outcomes == {f"{target}/flag:1": "copied"}


def test_with_one_job_and_one_probe_the_order_is_the_files(user: User, source: Registry, target: Registry) -> None:
    names = [f"app{number}:1" for number in (3, 1, 2)]
    for name in names:
        source.push(name, name)
    user.images(*((f"{source}/{name}", f"{target}/{name}") for name in names))
    run = user.sync("--jobs", "1", PROBES="1")
    assert list(run.outcomes) == [f"{target}/{name}" for name in names]


def test_sleep_time_follows_a_copy_but_not_a_skip(user: User, source: Registry, target: Registry) -> None:
    for name in ("one:1", "two:1"):
        source.push(name, name)
    user.images((f"{source}/one:1", f"{target}/one:1"), (f"{source}/two:1", f"{target}/two:1"))

    run = user.sync(JOBS="1", SLEEP_TIME="0.7")
    assert run.events("pass.done")[0]["seconds"] > 0.7
    # it would not end before the test's patience does
    assert set(user.sync(JOBS="1", SLEEP_TIME="3600").outcomes.values()) == {"skipped"}


def test_sleep_time_is_not_waited_when_nothing_follows(user: User, source: Registry, target: Registry) -> None:
    """With an hour's wait, the pass would not end before the test's patience does."""
    names = [f"app{number}:1" for number in range(3)]
    for name in names:
        source.push(name, name)
    user.images(*((f"{source}/{name}", f"{target}/{name}") for name in names))
    assert set(user.sync(JOBS="3", SLEEP_TIME="3600").outcomes.values()) == {"copied"}
    # the last copy is followed by look-ups that copy nothing
    changed = source.push("app0:1", "changed")
    user.images(*((f"{source}/{name}", f"{target}/{name}") for name in names), (f"{source}/gone:1", f"{target}/gone:1"))
    assert user.sync(JOBS="1", SLEEP_TIME="3600").code == 1
    assert target.digest("app0:1") == changed


@pytest.mark.parametrize(("variable", "part"), [("JOBS", b"/blobs/uploads/"), ("PROBES", b"/manifests/")])
def test_as_many_at_once_as_the_setting_says(
    user: User, source: Registry, target: Registry, variable: str, part: bytes
) -> None:
    names = [f"app{number}:1" for number in range(5)]
    for name in names:
        source.push(name, name)
    stall = Stall(part)
    proxy = Proxy(target, stall)
    user.images(*((f"{source}/{name}", f"{proxy}/{name}") for name in names))
    with user.running("sync.py", **{variable: "3"}) as running:

        def cranes() -> int:
            return sum(bool(argv) and argv[0].endswith("/crane") for argv in descendants(running.process.pid).values())

        at_once = cranes if variable == "JOBS" else lambda: stall.held  # crane uploads two blobs at once
        wait_for(lambda: at_once() >= 3, "three run at once")
        wait_for(lambda: stall.held >= 3, "they are held")
        assert at_once() == 3
        stall.release.set()
        assert running.process.wait(timeout=60) == 0


def test_a_log_that_cannot_be_written(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/full:1"))
    command = f'exec "{sys.executable}" "{BUNDLE}/sync.py"'
    for redirection, name, words in (
        (">/dev/full", "full:1", "the log cannot be written any more: No space left on device\n"),
        (">&-", "closed:1", ""),
    ):
        user.images((f"{source}/app:1", f"{target}/{name}"))
        shell = ["bash", "-c", f"{command} {redirection}"]
        done = subprocess.run(
            shell, cwd=user.folder, env=user.environ({}), stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, words)
        assert target.digest(name) == digest


def test_a_log_reader_that_goes_away_does_not_end_the_pass(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    command = f'"{sys.executable}" "{BUNDLE}/sync.py" | true; exit "${{PIPESTATUS[0]}}"'

    done = subprocess.run(
        ["bash", "-c", command], cwd=user.folder, env=user.environ({}), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert target.digest("app:1") == digest


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("[{} {}]", "ERROR images.json: line 1, column 5: expecting ',' delimiter; correct the JSON there"),
        ('[{"source": "SOURCE/app:1", "target": "TARGET/app:1"}, {}]', "ERROR images.json: [1].source: is missing; add it"),
        (
            '[{"source": "SOURCE/app:1", "target": "TARGET/app"}, {"source": "SOURCE/bb", "target": "TARGET/app:latest"}]',
            "ERROR images.json: [1].target: TARGET/app:latest is the target at [0].target already; keep one",
        ),
    ],
)
def test_a_mistake_in_the_images_and_nothing_is_copied(
    user: User, source: Registry, target: Registry, content: str, line: str
) -> None:
    source.push("app:1")
    user.write("images.json", content.replace("SOURCE", str(source)).replace("TARGET", str(target)))
    run = user.run("sync.py")
    assert run.code == 2
    assert line.replace("TARGET", str(target)) in run.lines
    assert not [each for each in run.lines if "pass" in each.split()[1]]
    assert target.tags("app") == []
