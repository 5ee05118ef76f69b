"""Whether what is over is let go of at once, and not when Python's collector of circles comes by."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_circles(kind: type[BaseException] | tuple[type[BaseException], ...] = BaseException) -> Iterator[None]:
    """What happens here must leave no error in a circle: its traceback would keep every frame that it went through, and
    with the frames a request and its image. To be left when the other side has had its turn.

    Args:
        kind: of the errors looked for, where fakes make circles of their own; several: each.

    Raises:
        AssertionError: it did.
    """
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        kept = [repr(thing)[:200] for thing in gc.garbage if isinstance(thing, kind)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not kept, kept
