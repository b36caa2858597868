"""Tasks whose result several coroutines wait for."""

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def shared_result(task: "asyncio.Future[T]") -> T:
    """Return the result of `task`, or raise its exception. If the caller is cancelled, `task` goes on for the others.

    Unlike with asyncio.shield, which logs it since Python 3.14, an exception that nobody waits for any more is no error.
    """
    if not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.add_done_callback(_retrieve)
            raise
    return task.result()


def _retrieve(task: "asyncio.Future[T]") -> None:
    if not task.cancelled():
        task.exception()
