"""Several items of one tensor, worked on side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from serving.errors import InvalidArgumentError, ServiceError, violation

T = TypeVar("T")


async def each(name: str, items: Sequence[bytes], ask: Callable[[int, bytes], Awaitable[T]]) -> list[T]:
    """The answers for all elements of the input `name`, in their order; the first that fails ends all.

    Args:
        name: of the input.
        items: its elements.
        ask: answers one, given its position; errors in the field `name` are told of that element.

    Raises:
        ServiceError: whatever `ask` raised first.
    """

    async def one(index: int, item: bytes) -> T:
        try:
            return await ask(index, item)
        except ServiceError as error:
            # The service that looks into the item says it as well as this one.
            field, description = violation(error)
            if error.code is not InvalidArgumentError.code or field != name:
                raise
            raise InvalidArgumentError(f"inputs[{name}][{index}]", description) from None

    tasks = [asyncio.create_task(one(index, item)) for index, item in enumerate(items)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def _end(tasks: list[asyncio.Task[T]]) -> None:
    """Afterwards nothing is in the list: an error's traceback holds the frame that has it, and the task the error."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()


def check_count(name: str, count: int, largest: int) -> None:
    """That an input has 1 to `largest` elements.

    Raises:
        InvalidArgumentError: it has more.
    """
    if count > largest:
        raise InvalidArgumentError(f"inputs[{name}].shape", f"must be [1] to [{largest}], not [{count}]")
