"""Files that are exchanged for something else, under services that look at them again and again."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
import trustme

from ferry.tls import TlsError
from gateway.admission.api_keys import ApiKeys, ApiKeysError
from serving import bounded_read
from serving.bounded_read import read_bounded
from serving.config_file import ConfigFileError, read_bytes
from tests.certificates import Certificates
from tests.in_time import in_time


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """One that nobody writes into."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_nothing_is_in_a_pipe_that_nobody_writes_into(pipe: Path) -> None:
    assert in_time(lambda: read_bounded(pipe, 100), 20) == b""


def test_what_a_command_writes_is_read_to_its_end(pipe: Path) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        for part in (b"one ", b"two"):
            time.sleep(0.05)
            os.write(writing, part)
        os.close(writing)

    threading.Thread(target=write).start()
    assert in_time(lambda: read_bounded(Path(f"/dev/fd/{reading}"), 100), 20) == b"one two"
    os.close(reading)


def test_who_writes_nothing_is_not_waited_for(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_read, "_PATIENCE_SECONDS", 0.1)
    silent = os.open(pipe, os.O_RDWR)
    with pytest.raises(OSError, match="nothing comes"):
        in_time(lambda: read_bounded(pipe, 100), 20)
    os.close(silent)


def test_no_more_is_read_than_is_wanted_and_no_descriptor_is_lost(tmp_path: Path) -> None:
    assert read_bounded(Path("/dev/zero"), 100) == bytes(100)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(IsADirectoryError):
            read_bounded(tmp_path, 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_configuration_keys_and_certificates_can_be_looked_at(pipe: Path, tmp_path: Path) -> None:
    assert in_time(lambda: read_bytes(pipe), 20) == b""
    file = tmp_path / "keys"
    file.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    keys = ApiKeys(file)
    pipe.rename(file)
    keys._file._least_seconds = 0.0
    assert in_time(lambda: keys.check("Bearer secret"), 20) == "shop"
    with pytest.raises(ApiKeysError, match="no keys"):
        in_time(lambda: ApiKeys(file), 20)
    own = Certificates(tmp_path / "own", trustme.CA())
    for name in ("tls.crt", "ca.crt"):
        place = tmp_path / "own" / "current" / name
        place.unlink()
        os.mkfifo(place)
        with pytest.raises(TlsError, match=f"{name} is not a plain file"):
            in_time(own.tls.read, 20)
        own.renew()


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="Is a directory"):
        read_bytes(tmp_path)
