"""Tasks whose result several coroutines wait for."""

import asyncio
import gc

import pytest
from odd_server import async_test

from imageporter.system.tasks import shared_result


async def failing(event: asyncio.Event) -> str:
    await event.wait()
    raise ValueError("no")


@async_test
async def test_a_waiter_that_is_cancelled_leaves_the_task_to_the_others() -> None:
    event = asyncio.Event()
    task = asyncio.create_task(event.wait())
    waiters = [asyncio.create_task(shared_result(task)) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    await asyncio.wait(waiters[:1])
    assert waiters[0].cancelled()
    event.set()
    assert await asyncio.gather(*waiters[1:]) == [True, True]
    assert await shared_result(task)


@async_test
async def test_every_waiter_gets_the_exception() -> None:
    event = asyncio.Event()
    task = asyncio.create_task(failing(event))
    waiters = [asyncio.create_task(shared_result(task)) for _ in range(2)]
    event.set()
    assert [str(one) for one in await asyncio.gather(*waiters, return_exceptions=True)] == ["no", "no"]
    with pytest.raises(ValueError, match="no"):
        await shared_result(task)


@async_test
async def test_an_exception_after_every_waiter_has_left_is_no_error() -> None:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    event = asyncio.Event()
    task = asyncio.create_task(failing(event))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await shared_result(task)
    event.set()
    await asyncio.wait([task])
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert unhandled == []


@async_test
async def test_a_task_that_is_cancelled_cancels_its_waiters() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    waiters = [asyncio.create_task(shared_result(task)) for _ in range(2)]
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait(waiters)
    assert all(waiter.cancelled() for waiter in waiters)
