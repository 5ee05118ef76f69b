"""One end of a pipe to another process: read or written before a deadline, without a thread that looks at the clock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time

_PIPE_BYTES = 1 << 18
"""That it may hold, in place of 64 KiB, for what is large. All pipes of a user may hold 64 MiB together (Linux)."""
_CHUNK_BYTES = 1 << 16
"""Read at once in search of the end of a line."""


class Pipe:
    """To be used by one thread at a time. Each method raises TimeoutError where it would have to wait beyond the
    deadline."""

    def __init__(self, file: int, deadline: float) -> None:
        """
        Args:
            file: descriptor of the end that is ours; from now on it does not block.
            deadline: time.monotonic() seconds.
        """
        os.set_blocking(file, False)
        with contextlib.suppress(OSError):  # all that this user may have is taken: it stays as it is
            fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._file = file
        self._deadline = deadline
        self._ready = select.poll()
        self._ready.register(file, select.POLLIN | select.POLLOUT)
        self._rest = bytearray()
        """Read behind the end of a line."""

    def write(self, data: bytes | memoryview) -> None:
        """
        Args:
            data: all of it is written; a view is one of bytes.

        Raises:
            OSError: nobody reads any more.
        """
        view, at = memoryview(data), 0
        while at < len(view):
            try:
                at += os.write(self._file, view[at:])
            except BlockingIOError:
                self._wait()

    def line(self, most: int) -> bytes:
        """The next line, without its end.

        Raises:
            EOFError: there is no whole line any more.
            ValueError: it has more than `most` bytes.
        """
        while (end := self._rest.find(b"\n", 0, most + 1)) < 0:
            if len(self._rest) > most:
                raise ValueError("a line is too long")
            chunk = bytearray(_CHUNK_BYTES)
            self._rest += chunk[: self._read_into(memoryview(chunk))]
        found = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return found

    def read(self, size: int) -> bytearray:
        """The next `size` bytes.

        Raises:
            EOFError: there are not so many any more.
        """
        found = bytearray(size)
        at = min(size, len(self._rest))
        found[:at] = self._rest[:at]
        del self._rest[:at]
        view = memoryview(found)
        while at < size:
            at += self._read_into(view[at:])
        return found

    def end(self) -> None:
        """Waits until nobody can write any more.

        Raises:
            ValueError: there is more to read.
        """
        try:
            self.read(1)
        except EOFError:
            return
        raise ValueError("there is more behind the end")

    def _read_into(self, view: memoryview) -> int:
        """How many bytes there were to be read, one or more."""
        while True:
            try:
                size = os.readv(self._file, [view])
            except BlockingIOError:
                self._wait()
                continue
            if not size:
                raise EOFError("nobody writes any more")
            return size

    def _wait(self) -> None:
        """Until some can be read or written, or it turns out that there is nobody."""
        left = self._deadline - time.monotonic()
        if left <= 0 or not self._ready.poll(left * 1000):
            raise TimeoutError("the other process took too long")
