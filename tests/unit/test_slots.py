"""Slots are shared fairly between registries."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from imageporter.engine.slots import Demand, Hosts, Slots

NONE_RESTS = frozenset[str]()


class Holder:
    """Images that hold slots until the test lets them go."""

    def __init__(self, width: int, resting: Hosts = NONE_RESTS) -> None:
        self.demand = Demand(lambda hosts: bool(hosts & resting))
        self.slots = Slots(width, self.demand)
        self.held: Counter[str] = Counter()
        self.order: list[int] = []
        self.ends: dict[int, asyncio.Event] = {}

    async def image(self, index: int, host: str, *, is_retry: bool = False) -> None:
        """Hold a slot."""
        self.ends[index] = asyncio.Event()
        async with self.slots.hold({host}, index, is_retry=is_retry):
            self.demand.discard(index)
            self.held[host] += 1
            self.order.append(index)
            await self.ends[index].wait()
            self.held[host] -= 1

    async def start(self, *hosts: str) -> list[asyncio.Task[None]]:
        """Start an image for each of `hosts`, all of which want a slot."""
        for index, host in enumerate(hosts):
            self.demand.add(index, frozenset({host}))
        tasks = [asyncio.create_task(self.image(index, host)) for index, host in enumerate(hosts)]
        await settle()
        return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_wait_ends_as_soon_as_no_image_wants_a_slot() -> None:
    async def run() -> None:
        holder = Holder(2)
        await holder.start("a", "b", "c")
        async with asyncio.timeout(60):
            waiting = asyncio.create_task(holder.demand.wait_until_empty(3600))
            await settle()
            assert not waiting.done()  # the third image has no slot yet
            holder.ends[0].set()
            await waiting
            holder.demand.add("retry", frozenset({"a"}))
            await holder.demand.wait_until_empty(0.01)  # somebody wants one: the time decides
            holder.demand.discard("retry")
            await holder.demand.wait_until_empty(3600)
        for end in holder.ends.values():
            end.set()
        await settle()

    asyncio.run(run())


def test_one_registry_holds_at_most_half_while_others_wait() -> None:
    async def run() -> None:
        holder = Holder(8)
        tasks = await holder.start(*["slow"] * 64, *["fast"] * 10)
        assert holder.held == {"slow": 4, "fast": 4}
        for index in range(64, 74):  # the fast ones come and go
            holder.ends[index].set()
            await settle()
            assert holder.held["slow"] + holder.held["fast"] <= 8
            assert holder.held["slow"] == 4 or holder.held["fast"] + sum(i >= 64 for i in holder.order) >= 10
        await settle()
        assert holder.held["slow"] == 8  # nobody else waits
        for end in holder.ends.values():
            end.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_a_lone_registry_holds_all() -> None:
    async def run() -> None:
        holder = Holder(8)
        tasks = await holder.start(*["only"] * 20)
        assert holder.held == {"only": 8}
        for end in holder.ends.values():
            end.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_images_that_are_still_to_come_count_too() -> None:
    """Else a slow registry would take every slot in the moment before the others want theirs."""

    async def run() -> None:
        holder = Holder(4)
        holder.demand.add("still looking up", frozenset({"fast"}))
        tasks = await holder.start(*["slow"] * 10)
        assert holder.held == {"slow": 2}
        holder.demand.discard("still looking up")
        holder.slots.grant()
        await settle()
        assert holder.held == {"slow": 4}
        for end in holder.ends.values():
            end.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_images_of_a_resting_registry_do_not_count() -> None:
    async def run() -> None:
        holder = Holder(4, resting=frozenset({"resting"}))
        holder.demand.add("waits for its registry", frozenset({"resting"}))
        tasks = await holder.start(*["busy"] * 10)
        assert holder.held == {"busy": 4}
        for end in holder.ends.values():
            end.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_untried_images_come_before_retries_then_the_order_of_the_files_decides() -> None:
    async def run() -> None:
        holder = Holder(1)
        first = asyncio.create_task(holder.image(0, "a"))
        await settle()
        later = [asyncio.create_task(holder.image(i, "a", is_retry=i < 3)) for i in (2, 4, 1, 3)]
        await settle()
        for index in (0, 3, 4, 1, 2):
            assert holder.order[-1] == index
            holder.ends[index].set()
            await settle()
        await asyncio.gather(first, *later)

    asyncio.run(run())


@given(hosts=st.lists(st.sampled_from("abc"), max_size=30), width=st.integers(1, 6), cancelled=st.sets(st.integers(0, 29)))
def test_all_get_a_slot_and_never_more_than_the_width(hosts: list[str], width: int, cancelled: set[int]) -> None:
    async def run() -> None:
        holder = Holder(width)
        tasks = await holder.start(*hosts)
        for index in cancelled:
            if index < len(tasks):
                tasks[index].cancel()
                holder.demand.discard(index)
        holder.slots.grant()
        ended: set[int] = set()
        while True:
            await settle()
            running = [index for index in holder.order if index not in ended and not tasks[index].done()]
            assert len(running) <= width
            if not running:
                break
            ended.add(running[0])
            holder.ends[running[0]].set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert set(range(len(hosts))) - cancelled <= set(holder.order)

    asyncio.run(run())
