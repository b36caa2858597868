"""What goes wrong in the world: registries that refuse, stall or lie."""

import re

import pytest
from support import Proxy, Refuse, Registry, Stall, User, free_port, log_of


def test_one_failure_never_stops_the_others(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images(
        (f"{source}/gone:1", f"{target}/gone:1"),
        (f"{source}/app:2", f"{target}/app:2"),
        (f"{source}/app:1", f"{target}/app:1"),
    )
    run = user.sync(RETRIES="2")
    assert run.code == 1
    assert run.outcomes == {f"{target}/gone:1": "failed", f"{target}/app:2": "failed", f"{target}/app:1": "copied"}
    errors = {row["source"]: (row["error"], row["attempt"]) for row in run.events("image.done") if "error" in row}
    assert errors == {
        f"{source}/gone:1": (f"source not found: GET http://{source}/v2/gone/manifests/1: NAME_UNKNOWN: Unknown name", 1),
        f"{source}/app:2": (
            f"source not found: GET http://{source}/v2/app/manifests/2: MANIFEST_UNKNOWN: Unknown manifest",
            1,
        ),
    }
    assert not run.events("image.retry")
    assert target.tags("gone") == []


def test_a_registry_that_is_not_there_is_tried_again_then_given_up(user: User, source: Registry) -> None:
    source.push("app:1")
    nowhere = f"127.0.0.1:{free_port()}"
    user.images((f"{source}/app:1", f"{nowhere}/app:1"))
    run = user.sync(RETRIES="2")
    assert run.code == 1
    assert [row["attempt"] for row in run.events("image.retry")] == [1, 2]
    done = run.events("image.done")[0]
    assert (done["outcome"], done["attempt"]) == ("failed", 3)
    assert done["error"].startswith('target unreachable: Get "https://')
    assert done["error"].endswith("connect: connection refused")
    assert user.sync("--dry-run").outcomes == {f"{nowhere}/app:1": "failed"}


def test_a_registry_with_accounts_and_a_private_authority(user: User, source: Registry, guarded: Registry) -> None:
    digest = source.push_index("app:1")
    there = f"{guarded}/with/accounts:1"
    user.images((f"{source}/app:1", there))

    run = user.sync(**guarded.environ)
    assert run.code == 1
    error = run.events("image.done")[0]["error"]
    assert error.startswith(
        f"target unauthorised: HEAD https://{guarded}/v2/with/accounts/manifests/1: unexpected status code 401"
    )
    assert error.endswith(f" (no account for {guarded})")
    assert not run.events("image.retry")

    user.accounts(guarded)
    run = user.sync(**guarded.environ)
    assert run.outcomes == {there: "copied"}, run.output
    assert guarded.digest("with/accounts:1") == digest
    assert user.sync(**guarded.environ).outcomes == {there: "skipped"}

    # and back, from a source that wants the account
    user.images((there, f"{source}/back:1"))
    assert user.sync(**guarded.environ).code == 0
    assert source.digest("back:1") == digest

    # without the authority nothing is trusted
    run = user.sync()
    assert run.code == 1
    error = run.events("image.done")[0]["error"]
    assert error.startswith("source not trusted: ")
    assert "certificate signed by unknown authority" in error


def test_a_wrong_password(user: User, target: Registry, guarded: Registry) -> None:
    assert guarded.account
    guarded.push("private/app:1")
    user.images((f"{guarded}/private/app:1", f"{target}/app:1"))
    user.write("accounts.json", [{"registry": str(guarded), "username": guarded.account[0], "password": "wrong-guess"}])
    run = user.sync(**guarded.environ)
    assert run.code == 1
    error = run.events("image.done")[0]["error"]
    assert error.startswith("source unauthorised: ")
    assert error.endswith(" (as alice)")
    assert "wrong-guess" not in run.output


def test_a_target_repository_that_does_not_exist_yet_is_made(user: User, source: Registry, guarded: Registry) -> None:
    digest = source.push("app:1")
    user.accounts(guarded)
    user.images((f"{source}/app:1", f"{guarded}/never/seen/before:1"))
    assert guarded.tags("never/seen/before") == []
    assert user.sync(**guarded.environ).code == 0
    assert guarded.digest("never/seen/before:1") == digest


@pytest.mark.parametrize(("status", "words"), [("401 Unauthorized", "unauthorised"), ("403 Forbidden", "denied")])
def test_a_target_that_tells_nothing_is_copied_to(
    user: User, source: Registry, target: Registry, status: str, words: str
) -> None:
    """Registries answer 401 or 403 for a repository that does not exist yet; the copy tells the truth."""
    digest = source.push("app:1")
    proxy = Proxy(target, Refuse(2, status))  # HEAD and GET of the probe
    user.images((f"{source}/app:1", f"{proxy}/app:1"))
    run = user.sync()
    assert run.code == 0, (words, run.output)
    assert target.digest("app:1") == digest


def test_a_source_that_denies_is_not_tried_again(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    proxy = Proxy(source, Refuse(1000, "403 Forbidden", '{"errors":[{"code":"DENIED","message":"no entry"}]}'))
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    run = user.sync(RETRIES="2")
    assert run.code == 1
    done = run.events("image.done")[0]
    assert (done["error"], done["attempt"]) == (
        f"source denied: GET http://{proxy}/v2/app/manifests/1: DENIED: no entry (no account for {proxy})",
        1,
    )


@pytest.mark.parametrize(
    ("status", "body", "error", "attempts"),
    [
        ("404 Not Found", "", "source not found: {}: unexpected status code 404 Not Found", 1),
        ("401 Unauthorized", "", "source unauthorised: {}: unexpected status code 401 Unauthorized (no account for {})", 1),
        # the status decides, whatever the body says
        ("502 Bad Gateway", "<p>: DENIED", "source failed: {}: unexpected status code 502 Bad Gateway: <p>: DENIED", 2),
        (
            "403 Forbidden",
            '{"errors":[{"code":"DENIED","message":"Error: no entry"}]}',
            "source denied: {}: DENIED: Error: no entry (no account for {})",
            1,
        ),
    ],
)
def test_answers_and_what_they_mean(
    user: User, source: Registry, target: Registry, status: str, body: str, error: str, attempts: int
) -> None:
    source.push("app:1")
    proxy = Proxy(source, Refuse(1000, status, body))
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    run = user.sync(RETRIES="1")
    assert run.code == 1
    done = run.events("image.done")[0]
    assert (done["error"], done["attempt"]) == (error.format(f"GET http://{proxy}/v2/app/manifests/1", proxy), attempts)


def test_a_long_answer_is_cut(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    proxy = Proxy(source, Refuse(1000, "418 Teapot", "tea " * 5000))
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    assert 400 < len(user.sync().events("image.done")[0]["error"]) < 600


def test_a_target_that_answers_too_many_requests_is_not_copied_to(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    proxy = Proxy(target, Refuse(6))
    user.images((f"{source}/app:1", f"{proxy}/app:1"))
    run = user.sync(RETRIES="1")
    assert run.code == 0, run.output
    assert [row["error"].split(":")[0] for row in run.events("registry.paused")] == ["target too many requests"]
    assert target.digest("app:1") == digest


def test_retry_delay_time_lies_between_attempts(user: User, source: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"127.0.0.1:{free_port()}/app:1"))
    run = user.sync(RETRIES="2", RETRY_DELAY_TIME="0.4")
    assert run.events("image.done")[0]["seconds"] > 2 * 0.4


def test_too_many_requests_are_tried_again(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    # crane sends six requests: it tries three times by HEAD, three times by GET
    proxy = Proxy(source, Refuse(6 if user.environ({}).get("FAST_LOOKUPS") == "false" else 1))
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    run = user.sync()
    assert run.code == 0, run.output
    paused = run.events("registry.paused")[0]
    assert (paused["registry"], paused["level"]) == (str(proxy), "WARNING")
    assert 1 <= paused["seconds"] <= 1.25
    assert re.fullmatch(
        rf"{proxy} responds with 429: backing off for 1\.\d s, with every image that needs it", paused["message"]
    )
    assert paused["error"].startswith("source too many requests: ")
    assert target.digest("app:1") == digest


def test_too_many_requests_for_ever(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    proxy = Proxy(source, Refuse(1000, body='{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}'))
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    run = user.sync()
    assert run.code == 1
    done = run.events("image.done")[0]
    asked = f"GET http://{proxy}/v2/app/manifests/1"
    assert done["error"] == f"source too many requests: {asked}: TOOMANYREQUESTS: slow down (and again after a pause)"
    assert target.digest("app:1") == ""


def test_a_stalled_copy_is_ended_by_its_time_limit(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    stall = Stall()
    user.images((f"{source}/app:1", f"{Proxy(target, stall)}/app:1"))
    run = user.sync(COPY_TIMEOUT="1")
    stall.release.set()
    assert run.code == 1
    assert run.events("image.done")[0]["error"] == "copy timed out: no end after 1 seconds (COPY_TIMEOUT)"


def test_a_stalled_probe_is_ended_by_its_time_limit(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    stall = Stall(b"/manifests/")
    user.images((f"{source}/app:1", f"{Proxy(target, stall)}/app:1"))
    run = user.sync(PROBE_TIMEOUT="1")
    stall.release.set()
    assert run.code == 1
    assert run.events("image.done")[0]["error"] == "target timed out: no end after 1 seconds (PROBE_TIMEOUT)"


def test_the_probed_digest_is_copied_though_the_tag_moves_meanwhile(user: User, source: Registry, target: Registry) -> None:
    probed = source.push("app:1", "probed")
    wrapper = user.crane_wrapper(f"""
        if [ "$1" = copy ]; then "$CRANE" copy {source}/other:1 {source}/app:1 2>&3; fi
        exec "$CRANE" "$@"
    """)
    moved = source.push("other:1", "moved")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync(CRANE=wrapper).code == 0
    assert source.digest("app:1") == moved
    assert target.digest("app:1") == probed


def test_copied_is_a_verified_word(user: User, source: Registry, target: Registry) -> None:
    """A fake: no real crane says that it copied when it did not."""
    new, old = source.push("app:1", "new"), target.push("app:1", "old")
    wrapper = user.crane_wrapper('if [ "$1" = copy ]; then exit 0; fi; exec "$CRANE" "$@"')
    user.images((f"{source}/app:1", f"{target}/app:1"))
    run = user.sync(CRANE=wrapper, RETRIES="1")
    assert run.code == 1
    done = run.events("image.done")[0]
    assert (done["error"], done["attempt"]) == (f"target failed: has {old} after the copy of {new}", 2)


def test_a_crane_that_is_none(user: User, source: Registry, target: Registry) -> None:
    """A fake: no real crane prints anything but a digest."""
    wrapper = user.crane_wrapper('echo "not a \x1b[31mdigest"')
    user.images((f"{source}/app:1", f"{target}/app:1"))
    run = user.sync(CRANE=wrapper, FAST_LOOKUPS="false")
    assert run.code == 1
    error = run.events("image.done")[0]["error"]
    assert error == "source failed: crane printed 'not a  [31mdigest' instead of a digest"
    run = user.sync(CRANE=user.crane_wrapper("echo Basic c4nary-p4ssw0rd"), FAST_LOOKUPS="false")
    assert run.events("image.done")[0]["error"] == "source failed: crane printed 'Basic ***' instead of a digest"


def test_images_are_pushed_over_http_1_unless_the_user_wants_http_2(user: User, source: Registry, guarded: Registry) -> None:
    """Over HTTP/2 a big image takes four times as long where the registry is far."""
    source.push("app:1")
    user.accounts(guarded)
    for repository, wanted, godebug in (("one", "HTTP/1.1", {}), ("two", "HTTP/2.0", {"GODEBUG": "http2client=1"})):
        user.images((f"{source}/app:1", f"{guarded}/{repository}:1"))
        assert user.sync(**guarded.environ, **godebug).code == 0
        output = log_of(guarded.config.with_name("log"))
        assert set(re.findall(rf'"PUT /v2/{repository}/\S+ (HTTP/\S+)"', output)) == {wanted}
