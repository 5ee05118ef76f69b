"""Calls other programs, and says clearly what is missing or what went wrong."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

_TAIL = 40


class ImagesError(Exception):
    """Says what is wrong and what to do about it."""


def call(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, text: str | None = None, both: bool = False
) -> str:
    """What `command` prints, without the last line break.

    Args:
        command: program and arguments.
        env: its whole environment; by default this process's.
        text: what it reads from standard input.
        both: with what it prints to standard error, which comes last.

    Raises:
        ImagesError: it cannot be started or fails; with the last lines of what it printed.
    """
    try:
        done = subprocess.run(command, env=env, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ImagesError(f"cannot run {command[0]}: {error.strerror or error}") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL:])
        raise ImagesError(f"{' '.join(command)} failed with {done.returncode}:\n{tail}")
    return (done.stdout + (done.stderr if both else "")).rstrip("\n")


def missing(programs: Mapping[str, str]) -> dict[str, str]:
    """Those of `programs` (name to Debian package) that are not on the PATH."""
    return {program: package for program, package in programs.items() if shutil.which(program) is None}
