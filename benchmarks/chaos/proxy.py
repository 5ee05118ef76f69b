"""A TCP proxy that can be told to delay, to cut, to hang and to answer garbage."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import StrEnum

CHUNK = 1 << 16


class Mode(StrEnum):
    """What happens to bytes: passed on, connections ended, nothing at all, or nonsense sent back."""

    PASS = "pass"
    CUT = "cut"
    HANG = "hang"
    GARBAGE = "garbage"


class Proxy:
    """Listens on a port of 127.0.0.1 and passes on to `target`, in a thread of its own. A context.

    Attributes:
        port: where it listens.
        delay: seconds by which everything in either direction is late.
    """

    def __init__(self, target: str) -> None:
        """
        Args:
            target: `host:port`, or the path of a Unix socket.
        """
        self._target = target
        self._mode = Mode.PASS
        self.delay = 0.0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._listening = threading.Event()

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        """Holds for connections that are open too: CUT ends them."""
        self._mode = mode
        if mode is Mode.CUT:
            self._loop.call_soon_threadsafe(self._end_all)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        self._loop.run_forever()
        server.close()
        self._end_all()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _end_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.CUT:
            writer.transport.abort()
            return
        try:
            if ":" in self._target:
                host, _, port = self._target.rpartition(":")
                there = await asyncio.open_connection(host, int(port))
            else:
                there = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, there[1]}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, there[1], writer), self._pump(there[0], writer, writer))
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, caller: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                while self._mode is Mode.HANG:
                    await asyncio.sleep(0.02)
                if self._mode is Mode.GARBAGE:
                    caller.write(b"?" * 64 + b"\r\n")
                    continue
                sink.write(data)
                await sink.drain()
            sink.transport.abort()
