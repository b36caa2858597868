"""Digests: from the client where it has one, and from crane in the rest of the time."""

import asyncio
import time
from typing import Any, cast

import pytest

from imageporter.model.reference import Reference
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.lookup import DigestLookup

IMAGE = Reference("a.io", "app", "1")


class Client:
    """The client of a registry that answers with `digest` after `seconds` of the clock."""

    def __init__(self, clock: list[float], digest: str | None, seconds: float = 0.0) -> None:
        self.pulls_left = {"a.io": 7}
        self.clock = clock
        self.answer = digest
        self.took = seconds
        self.calls: list[tuple[object, ...]] = []

    async def digest(self, *arguments: object) -> str | None:
        """Return what was given."""
        self.calls.append(arguments)
        self.clock[0] += self.took
        return self.answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test can change."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def lookup(client: Client | None, crane: Client) -> DigestLookup:
    return DigestLookup(cast("Any", client), cast("Any", crane), 60)


def test_the_client_decides_if_it_can(clock: list[float]) -> None:
    client, crane = Client(clock, "ours"), Client(clock, "crane's")
    one = lookup(client, crane)
    assert asyncio.run(one.digest("source", IMAGE)) == "ours"
    assert (client.calls, crane.calls) == ([("source", IMAGE, 60)], [])
    assert (one.count, one.pulls_left) == (1, {"a.io": 7})


def test_crane_has_what_the_client_left_of_the_time(clock: list[float]) -> None:
    client, crane = Client(clock, None, 59.5), Client(clock, "crane's")
    one = lookup(client, crane)
    assert asyncio.run(one.digest("target", IMAGE)) == "crane's"
    assert crane.calls == [("target", IMAGE, 0.5)]
    assert one.count == 1


@pytest.mark.parametrize("seconds", [60, 61])
def test_crane_is_not_started_without_time(clock: list[float], seconds: float) -> None:
    crane = Client(clock, "crane's")
    with pytest.raises(RegistryError) as caught:
        asyncio.run(lookup(Client(clock, None, seconds), crane).digest("target", IMAGE))
    assert str(caught.value) == "target timed out: no end after 60 seconds (PROBE_TIMEOUT)"
    assert (caught.value.kind, caught.value.host, crane.calls) == (ErrorKind.TIMED_OUT, "a.io", [])


def test_crane_looks_up_all_that_it_must(clock: list[float]) -> None:
    client, crane = Client(clock, "ours"), Client(clock, "crane's")
    for one, by_crane in ((lookup(client, crane), True), (lookup(None, crane), False)):
        assert asyncio.run(one.digest("source", IMAGE, by_crane=by_crane)) == "crane's"
        assert asyncio.run(one.digest("source", IMAGE, by_crane=by_crane)) == "crane's"
        assert one.count == 2
    assert client.calls == []
    assert crane.calls == 4 * [("source", IMAGE, 60)]
    assert lookup(None, crane).pulls_left == {}
