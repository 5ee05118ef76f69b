"""How many files a service may have open, whatever its parent left it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.descriptors import SPARE
from tests.processes import SERVING, free_port, health, process, until

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""


@contextmanager
def allowed(soft: int, hard: int, folder: Path) -> Iterator[tuple[int, str]]:
    """A service that was started with such limits: how many files it may have open, and what it has logged."""
    port = free_port()
    fake = ("-m", "tests.serving.fakes", str(folder), "--port", str(port), "--max-connections", "300")
    with process(("-c", LIMITED, str(soft), str(hard), *fake)) as started:
        until(lambda: health(port) == SERVING)
        limits = Path(f"/proc/{started.pid}/limits").read_text()
        started.terminate()
        _, errors = started.communicate(timeout=60)
        yield int(limits.partition("Max open files")[2].split()[0]), errors


def test_a_service_may_open_as_many_as_its_connections_may_need(tmp_path: Path) -> None:
    with allowed(256, 2000, tmp_path) as (files, said):
        assert files == 3 * 300 + SPARE
        assert "FERRY_MAX_CONNECTIONS" not in said


def test_one_that_may_not_says_so(tmp_path: Path) -> None:
    with allowed(256, 1000, tmp_path) as (files, said):
        assert files == 1000
        assert "FERRY_MAX_CONNECTIONS" in said
