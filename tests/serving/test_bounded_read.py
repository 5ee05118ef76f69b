"""Files that are exchanged for something else, under services that look at them again and again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trustme

from ferry.tls import TlsError
from gateway.admission.api_keys import ApiKeys, ApiKeysError
from serving import bounded_read
from serving.bounded_read import read_bounded
from serving.config_file import ConfigFileError, read_bytes
from tests.certificates import Certificates

T = TypeVar("T")


async def soon(work: Callable[[], T]) -> T:
    """What `work` gives, in a thread that may hang."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            loop.call_soon_threadsafe(done.set_result, work())
        except Exception as error:
            loop.call_soon_threadsafe(done.set_exception, error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wait_for(done, 20)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """One that nobody writes into."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def test_nothing_is_in_a_pipe_that_nobody_writes_into(pipe: Path) -> None:
    assert await soon(lambda: read_bounded(pipe, 100)) == b""


async def test_what_a_command_writes_is_read_to_its_end(pipe: Path) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        for part in (b"one ", b"two"):
            time.sleep(0.05)
            os.write(writing, part)
        os.close(writing)

    threading.Thread(target=write).start()
    assert await soon(lambda: read_bounded(Path(f"/dev/fd/{reading}"), 100)) == b"one two"
    os.close(reading)


async def test_who_writes_nothing_is_not_waited_for(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_read, "_PATIENCE_SECONDS", 0.1)
    silent = os.open(pipe, os.O_RDWR)
    with pytest.raises(OSError, match="nothing comes"):
        await soon(lambda: read_bounded(pipe, 100))
    os.close(silent)


def test_no_more_is_read_than_is_wanted_and_no_descriptor_is_lost(tmp_path: Path) -> None:
    assert read_bounded(Path("/dev/zero"), 100) == bytes(100)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(IsADirectoryError):
            read_bounded(tmp_path, 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_configuration_keys_and_certificates_can_be_looked_at(pipe: Path, tmp_path: Path) -> None:
    assert await soon(lambda: read_bytes(pipe)) == b""
    file = tmp_path / "keys"
    file.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    keys = ApiKeys(file)
    pipe.rename(file)
    keys._file._least_seconds = 0.0
    assert await soon(lambda: keys.check("Bearer secret")) == "shop"
    with pytest.raises(ApiKeysError, match="no keys"):
        await soon(lambda: ApiKeys(file))
    own = Certificates(tmp_path / "own", trustme.CA())
    for name in ("tls.crt", "ca.crt"):
        place = tmp_path / "own" / "current" / name
        place.unlink()
        os.mkfifo(place)
        with pytest.raises(TlsError, match=f"{name} is not a plain file"):
            await soon(own.tls.read)
        own.renew()


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="Is a directory"):
        read_bytes(tmp_path)
