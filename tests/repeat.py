"""`python -m tests.repeat ARGUMENTS`: pytest, and what fails once more alone: one run tells a fault from chance.

Some tests ask a whole cluster under load on a machine whose other work nobody knows. A test that fails beside others
is repeated by itself, in new processes; if it passes each time it is named as flaky, and the run succeeds. A test that
fails again, and more failures than chance explains, fail the run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TIMES = 3
"""How often a test that failed must pass alone: one that fails every other time is told from chance in 7 of 8 runs."""
MOST = 5
"""Failures that are repeated; more have one cause, which is not chance."""
FAILED = 1
"""Pytest's exit status where tests failed; other errors are not repeated."""


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="ferry-tests-") as cache:
        status = pytest("-o", f"cache_dir={cache}", *words)
        failed = failures(Path(cache)) if status == FAILED else []
    if not failed:
        return status
    if len(failed) > MOST:
        say(f"{len(failed)} tests failed; more than {MOST} are not repeated")
        return status
    for time in range(TIMES):
        say(f"{len(failed)} failed; repeated alone, {time + 1} of {TIMES}")
        if again := pytest("-p", "no:cacheprovider", *failed):
            say("failed when repeated alone, too")
            return again
    say(f"flaky: failed once, then passed alone {TIMES} times of {TIMES}; each is to be mended", *failed)
    return 0


def pytest(*words: str) -> int:
    """Its exit status."""
    return subprocess.run([sys.executable, "-m", "pytest", *words], check=False).returncode


def failures(cache: Path) -> list[str]:
    """What pytest keeps of the tests that failed; empty: it kept nothing."""
    kept = cache / "v" / "cache" / "lastfailed"
    return list(json.loads(kept.read_text())) if kept.exists() else []


def say(line: str, *names: str) -> None:
    print("\n".join((f"tests.repeat: {line}", *(f"  {name}" for name in names))), flush=True)


if __name__ == "__main__":
    sys.exit(main())
