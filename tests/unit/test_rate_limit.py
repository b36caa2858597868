"""The rate limit of the hook."""

import time

import pytest

from imageporter.hook import rate_limit
from imageporter.hook.rate_limit import BURST_SECONDS, TokenBucket


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test can change."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_burst_and_then_the_rate(clock: list[float]) -> None:
    bucket = TokenBucket(2)
    allowed = [bucket.allow("a") for _ in range(2 * BURST_SECONDS + 5)]
    assert allowed == [True] * 2 * BURST_SECONDS + [False] * 5
    assert bucket.allow("b")
    clock[0] += 0.5
    assert [bucket.allow("a"), bucket.allow("a")] == [True, False]
    clock[0] += 3600  # the bucket is full again, and does not overflow
    assert sum(bucket.allow("a") for _ in range(100)) == 2 * BURST_SECONDS


def test_a_rate_of_0_is_unlimited() -> None:
    bucket = TokenBucket(0)
    assert all(bucket.allow("a") for _ in range(10_000))


@pytest.mark.usefixtures("clock")
def test_the_number_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_ADDRESSES", 2)
    bucket = TokenBucket(1)
    for _ in range(BURST_SECONDS):
        assert bucket.allow("a")
    assert not bucket.allow("a")
    assert bucket.allow("b")
    assert bucket.allow("c")
    assert bucket.allow("a")  # forgotten, and so new
