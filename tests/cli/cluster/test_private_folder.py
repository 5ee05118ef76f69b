"""Where a local cluster keeps what is its own."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from cli.cluster.cluster import private_folder


@pytest.mark.parametrize("deep", [0, 3])
def test_sockets_find_room_however_deep_temporary_files_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: int
) -> None:
    place = tmp_path.joinpath(*["a-folder-whose-name-is-long-enough"] * deep)
    place.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    folder = private_folder()
    try:
        assert folder.stat().st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(folder / "valkey-jobs.sock"))
            (folder / "valkey-jobs.sock").unlink()
    finally:
        folder.rmdir()
