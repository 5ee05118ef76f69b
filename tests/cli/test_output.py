"""Commands whose streams are closed, as daemons and schedulers start programs."""

from __future__ import annotations

import subprocess
import sys

import pytest

MAIN = "from cli.main import main; main()"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_ends_no_command(closed: str) -> None:
    command = f'"$0" -c "{MAIN}" predict /nowhere.jpg {closed}'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_a_stream_without_frames_says_so() -> None:
    command = f'"$0" -c "{MAIN}" stream <&-'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "no frames" in done.stderr
