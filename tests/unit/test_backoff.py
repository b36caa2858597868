"""Back-off of one registry: when it rests, for how long, who probes it, and when it is given up."""

import asyncio

import pytest

from imageporter.engine.backoff import Backoff, Backoffs, Operation, UnavailableError
from imageporter.registry.errors import ErrorKind, RegistryError

LIMITED = RegistryError("source", ErrorKind.RATE_LIMITED, "slow down", "reg.io", status=429)
REFUSED = RegistryError("source", ErrorKind.UNREACHABLE, "connection refused", "reg.io")
HOSTS = frozenset({"reg.io"})


def limited(retry_after: float) -> RegistryError:
    return RegistryError("source", ErrorKind.RATE_LIMITED, "slow down", "reg.io", status=429, retry_after=retry_after)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only the test advances."""
    clock = [1000.0]
    monkeypatch.setattr("imageporter.engine.backoff.time.monotonic", lambda: clock[0])
    return clock


def rests(one: Backoff, error: RegistryError, count: int) -> list[float]:
    """Return the seconds of `count` rests after failures in a row."""
    seconds = []
    for _ in range(count):
        one.prober = "image"
        one.record_failure(error, Operation.LOOKUP, "image")
        seconds.append(one.seconds_left)
    return seconds


@pytest.mark.usefixtures("now")
def test_429_rests_at_once_and_longer_each_time() -> None:
    first, second, third = rests(Backoff("reg.io", 5, 9), LIMITED, 3)
    assert 5 <= first <= 5 * 1.25
    assert 2 * first <= second <= 2 * first * 1.25
    assert 2 * second <= third <= 2 * second * 1.25


@pytest.mark.usefixtures("now")
def test_no_rest_is_longer_than_five_minutes() -> None:
    assert max(rests(Backoff("reg.io", 5, 99), LIMITED, 30)) <= 300 * 1.25
    assert rests(Backoff("reg.io", 5, 9), limited(86400), 1) == [300]


@pytest.mark.usefixtures("now")
def test_no_rest_after_an_outage_is_longer_than_half_a_minute() -> None:
    """A registry that fails now and then must not stretch a pass to hours."""
    assert max(rests(Backoff("reg.io", 5, 99), REFUSED, 30)) <= 30 * 1.25
    assert rests(Backoff("reg.io", 60, 99), REFUSED, 5)[-1] >= 60


@pytest.mark.usefixtures("now")
def test_retry_after_is_honoured() -> None:
    assert rests(Backoff("reg.io", 5, 9), limited(42), 2) == [42, 42]
    assert rests(Backoff("reg.io", 5, 9), limited(0), 1) == [1]


@pytest.mark.usefixtures("now")
def test_an_outage_rests_after_three_failures_in_a_row() -> None:
    one = Backoff("reg.io", 5, 2)
    for _ in range(2):
        one.record_failure(REFUSED, Operation.LOOKUP, "image")
        assert not one.is_resting
    one.record_success(Operation.LOOKUP, "image")
    for _ in range(2):
        one.record_failure(REFUSED, Operation.LOOKUP, "image")
        assert not one.is_resting
    one.record_failure(REFUSED, Operation.LOOKUP, "image")
    assert one.is_resting


@pytest.mark.usefixtures("now")
def test_a_success_of_another_operation_does_not_end_a_streak() -> None:
    """A registry may answer look-ups while its uploads stall."""
    one = Backoff("reg.io", 5, 2)
    for _ in range(3):
        assert not one.is_resting
        one.record_failure(REFUSED, Operation.COPY, "image")
        if not one.is_resting:
            one.record_success(Operation.LOOKUP, "image")
    assert one.is_resting


@pytest.mark.usefixtures("now")
def test_it_is_given_up_after_the_last_rest() -> None:
    one = Backoff("reg.io", 5, 2)
    states = [(one.is_last_probe, one.give_up_reason)]
    for _ in range(3):
        rests(one, LIMITED, 1)
        states.append((one.is_last_probe, one.give_up_reason))
    reason = "source too many requests: slow down (and again after 2 pauses)"
    assert states == [(False, None), (False, None), (True, None), (False, reason)]


@pytest.mark.usefixtures("now")
def test_what_was_sent_before_the_rest_does_not_count() -> None:
    one = Backoff("reg.io", 5, 1)
    for _ in range(50):
        one.record_failure(LIMITED, Operation.LOOKUP, object())
    assert one.is_resting
    assert one.give_up_reason is None


def test_the_next_rest_is_short_again_once_the_registry_has_answered_for_a_while(now: list[float]) -> None:
    one = Backoff("reg.io", 5, 9)
    rests(one, LIMITED, 3)
    one.record_success(Operation.LOOKUP, "image")
    now[0] += 30
    assert rests(one, LIMITED, 1)[0] > 20
    one.record_success(Operation.LOOKUP, "image")
    now[0] += 61
    assert rests(one, LIMITED, 1)[0] <= 5 * 1.25


def test_one_image_probes_and_its_success_opens_the_registry_to_all() -> None:
    async def run() -> None:
        backoffs = Backoffs(retry_delay_time=0, retries=2)
        one = backoffs.of("reg.io")
        one.record_failure(limited(0), Operation.LOOKUP, "sent before")
        started: list[int] = []
        probing, proceed = asyncio.Event(), asyncio.Event()

        async def image(number: int) -> None:
            await backoffs.wait(HOSTS, number)
            while not backoffs.begin(HOSTS, number):
                await backoffs.wait(HOSTS, number)
            started.append(number)
            probing.set()
            if len(started) == 1:
                await proceed.wait()
                one.record_success(Operation.LOOKUP, number)
            backoffs.release(HOSTS, number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(image(number))
            await probing.wait()
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(started) == 1
            assert not backoffs.begin(HOSTS, "another")
            proceed.set()
        assert sorted(started) == list(range(20))

    asyncio.run(run())


def test_everything_that_waits_fails_with_the_reason_once_it_is_given_up() -> None:
    async def run() -> None:
        backoffs = Backoffs(retry_delay_time=0, retries=0)
        one = backoffs.of("reg.io")
        one.record_failure(limited(0), Operation.LOOKUP, "sent before")
        reasons: list[str] = []

        async def image(number: int) -> None:
            try:
                while True:
                    await backoffs.wait(HOSTS, number)
                    if backoffs.begin(HOSTS, number):
                        one.record_failure(LIMITED, Operation.LOOKUP, number)
                        backoffs.release(HOSTS, number)
            except UnavailableError as error:
                reasons.append(f"{error.host}: {error}")

        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(image(number))
        assert reasons == ["reg.io: source too many requests: slow down (and again after a pause)"] * 20

    asyncio.run(run())


def test_images_of_two_resting_registries_never_wait_for_each_other() -> None:
    async def run() -> None:
        backoffs = Backoffs(retry_delay_time=0, retries=5)
        for host in ("a.io", "b.io"):
            backoffs.of(host).record_failure(limited(0), Operation.COPY, "sent before")
        done: list[object] = []

        async def image(number: int, *hosts: str) -> None:
            await backoffs.wait(hosts, number)
            while not backoffs.begin(hosts, number):
                await backoffs.wait(hosts, number)
            for host in hosts:
                backoffs.of(host).record_success(Operation.COPY, number)
            backoffs.release(hosts, number)
            done.append(number)

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            for number in range(30):
                tasks.create_task(image(number, *(("a.io", "b.io"), ("b.io",), ("a.io",))[number % 3]))
        assert len(done) == 30

    asyncio.run(run())


def test_a_probe_that_ends_leaves_its_role_to_another() -> None:
    async def run() -> None:
        backoffs = Backoffs(retry_delay_time=0, retries=5)
        backoffs.of("reg.io").record_failure(limited(1), Operation.LOOKUP, "sent before")
        await backoffs.wait(HOSTS, "first")
        assert backoffs.begin(HOSTS, "first")
        second = asyncio.create_task(backoffs.wait(HOSTS, "second"))
        await asyncio.sleep(0)
        assert not second.done()
        backoffs.release(HOSTS, "first")
        async with asyncio.timeout(30):
            await second
        assert backoffs.begin(HOSTS, "second")

    asyncio.run(run())


def test_only_the_probe_ends_a_rest(now: list[float]) -> None:
    """The success of a request that was sent before says nothing, and `Retry-After` holds."""
    backoffs = Backoffs(retry_delay_time=0, retries=5)
    one = backoffs.of("reg.io")
    one.record_failure(limited(60), Operation.COPY, "sent before")
    one.record_success(Operation.LOOKUP, "sent before, too")
    assert not backoffs.begin(HOSTS, "next")
    now[0] += 59
    assert not backoffs.begin(HOSTS, "next")
    now[0] += 1
    assert backoffs.begin(HOSTS, "next")
    assert not backoffs.begin(HOSTS, "another")
    one.record_success(Operation.LOOKUP, "next")
    assert backoffs.begin(HOSTS, "another")


def test_a_registry_that_rests_longer_does_not_keep_the_other_from_being_probed(now: list[float]) -> None:
    backoffs = Backoffs(retry_delay_time=0, retries=5)
    backoffs.of("a.io").record_failure(limited(1), Operation.COPY, "sent before")
    backoffs.of("b.io").record_failure(limited(300), Operation.COPY, "sent before")
    now[0] += 2
    assert not backoffs.begin({"a.io", "b.io"}, "needs both")
    assert backoffs.begin({"a.io"}, "needs one")
