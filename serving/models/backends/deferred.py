"""What a thread that runs models has put off until its next run computes.

After a run come milliseconds of Python, and then the event loop is told, which wants the interpreter's lock at once and
has it for as long again. A CPU would stand still meanwhile. So the next run is prepared and begun first, where there is
one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import Context, copy_context

log = logging.getLogger(__name__)


class _Own(threading.local):
    work: tuple[Context, Callable[[], None]] | None = None


_own = _Own()


def put_off(work: Callable[[], None] | None) -> None:
    """`work` is for the next `catch_up` of this thread, in the context that is now; None: there is none."""
    _own.work = None if work is None else (copy_context(), work)


def waits() -> bool:
    """Whether this thread has put something off."""
    return _own.work is not None


def catch_up() -> None:
    """Does what this thread has put off; what goes wrong in it says nothing of the run that it is done beside."""
    work, _own.work = _own.work, None
    if work is None:
        return
    context, run = work
    try:
        context.run(run)
    except Exception as error:
        log.exception("what comes after a run was dropped: %s", error)
