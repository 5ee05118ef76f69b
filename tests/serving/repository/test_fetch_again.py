"""A fetch after one that was killed, and beside what is there already."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path

import pytest

from serving.repository.fetch import main
from serving.repository.repository import ModelRepository
from tests.processes import until
from tests.serving.repository.http_server import Answer, Server, content
from tests.serving.repository.test_fetch import digest


def half(data: bytes) -> Answer:
    """Half of it, and then nothing more."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        content(data[: len(data) // 2], promised=len(data))(handler)
        handler.server.owner.released.wait()  # type: ignore[attr-defined]

    return answer


def arguments(url: str, data: bytes, root: Path) -> list[str]:
    return ["--models-url", url, "--models-sha256", digest(data), "--models-dir", str(root)]


def test_nothing_is_left_of_one_that_was_killed(server: Server, archive: bytes, tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    url = server.serve("/models.tar", half(archive), content(archive))
    command = [sys.executable, "-m", "serving.repository.fetch", *arguments(url, archive, root)]
    with subprocess.Popen(command) as killed:
        until(lambda: any(path.stat().st_size for path in root.rglob("models.tar")), what="a part of the file")
        killed.kill()
    assert list(root.iterdir()), "what was killed has left something"
    assert main(arguments(url, archive, root)) == 0
    assert ModelRepository(root).open("tiny", "1")
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_a_version_that_holds_something_else_is_said_in_one_line(
    server: Server, archive: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "models"
    root.mkdir()
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        for member in tar:
            if file := tar.extractfile(member):
                (root / member.name).parent.mkdir(parents=True, exist_ok=True)
                (root / member.name).write_bytes(file.read())
    manifest = root / "tiny/1/manifest.json"
    manifest.write_text(manifest.read_text().replace('"description": "', '"description": "another '))
    assert main(arguments(server.serve("/models.tar", content(archive)), archive, root)) == 1
    (told,) = capfd.readouterr().err.splitlines()
    assert "cannot fetch" in told
    assert "holds something else" in told
