"""Windows: enough images are under way, and one registry keeps no image of another waiting."""

import asyncio
from collections import Counter

from imageporter.engine.retry import IndexedImage
from imageporter.engine.windows import IN_FLIGHT, run_at_once
from imageporter.model.image import Image
from imageporter.model.reference import Reference


def images_of(host: str, count: int) -> list[IndexedImage]:
    reference = Reference(host, "app", "1")
    return [IndexedImage(Image("", reference, reference), number, frozenset({host})) for number in range(count)]


def test_each_image_has_its_turn_within_its_window() -> None:
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: list[tuple[str, int]] = []

    async def work(image: IndexedImage) -> None:
        host = image.image.source.host
        under_way[host] += 1
        most[host] = max(most[host], under_way[host])
        await asyncio.sleep(0.001)
        under_way[host] -= 1
        done.append((host, image.index))

    asyncio.run(run_at_once(work, [*images_of("a.io", 3000), *images_of("b.io", 5)]))
    assert most == {"a.io": IN_FLIGHT, "b.io": 5}
    assert sorted(done) == [*(("a.io", number) for number in range(3000)), *(("b.io", number) for number in range(5))]
    assert [number for host, number in done if host == "a.io"][:10] == list(range(10)), "in the order of the files"


def test_a_registry_that_stalls_does_not_stop_the_others() -> None:
    finished = asyncio.Event()
    count = 0

    async def work(image: IndexedImage) -> None:
        nonlocal count
        if image.image.source.host == "slow.io":
            await finished.wait()
        else:
            await asyncio.sleep(0)
            count += 1
            if count == 3000:
                finished.set()

    async def run() -> None:
        async with asyncio.timeout(30):
            await run_at_once(work, [*images_of("slow.io", 3000), *images_of("fast.io", 3000)])

    asyncio.run(run())
    assert count == 3000


def test_a_cancelled_pass_starts_nothing_more() -> None:
    started = 0

    async def work(_: IndexedImage) -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(60)

    async def run() -> None:
        task = asyncio.create_task(run_at_once(work, images_of("a.io", 3000)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert started == IN_FLIGHT
