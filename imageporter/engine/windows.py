"""Windows of tasks: how many images are under way at once, for each set of registries."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from imageporter.engine.retry import IndexedImage
from imageporter.engine.slots import Hosts

# More than there are slots: PROBES and JOBS are at most 256 each. A task for each of 100,000 images would need 300 MB.
IN_FLIGHT = 1024
TASKS_AT_ONCE = 256

Work = Callable[[IndexedImage], Coroutine[Any, Any, None]]


async def run_at_once(work: Work, images: Sequence[IndexedImage]) -> None:
    """Do `work` for all images, IN_FLIGHT at once of those that need the same registries.

    So what waits for one registry keeps no image of another waiting.
    """
    by_hosts: dict[Hosts, list[IndexedImage]] = defaultdict(list)
    for image in images:
        by_hosts[image.hosts].append(image)
    async with asyncio.TaskGroup() as tasks:
        for group in by_hosts.values():
            waiting = iter(group)
            for index in range(1, min(len(group), IN_FLIGHT) + 1):
                tasks.create_task(_work_off(waiting, work))
                if not index % TASKS_AT_ONCE:
                    await asyncio.sleep(0)  # the first requests need not wait for the last task


async def _work_off(waiting: Iterator[IndexedImage], work: Work) -> None:
    """Do `work` for one image after the other of those that are `waiting`, from which other tasks take as well."""
    for image in waiting:
        await work(image)
