"""`python -m tests.repeat ARGUMENTS`: pytest, and what fails three times more alone: that tells a fault from chance.

Some tests ask a whole cluster under load on a machine whose other work nobody knows. A test that fails beside others
is repeated by itself, in new processes. One that then passes has given both answers on the same code: it is named as
flaky, with how often it passed, and the run succeeds. A test that fails every time, and more failures than chance
explains, fail the run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

TIMES = 3
"""How often a test that failed is repeated alone: how often it passes says whether chance or a fault is likelier."""
MOST = 5
"""Failures that are repeated; more have one cause, which is not chance."""
FAILED = 1
"""Pytest's exit status where tests failed; other errors are not repeated."""


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    status, failed = pytest(*words)
    if status != FAILED or not failed:
        return status
    if len(failed) > MOST:
        say(f"{len(failed)} tests failed; more than {MOST} are not repeated")
        return status
    passed: Counter[str] = Counter()
    for time in range(TIMES):
        say(f"{len(failed)} failed; repeated alone, {time + 1} of {TIMES}")
        again, still = pytest(*failed)
        if again not in (0, FAILED):
            return again
        passed.update(set(failed) - set(still))
    if faults := [name for name in failed if not passed[name]]:
        say(f"failed alone {TIMES} times of {TIMES}, too", *faults)
        return status
    say("flaky: failed, then passed alone; each is to be mended", *(f"{n} ({passed[n]} of {TIMES})" for n in failed))
    return 0


def pytest(*words: str) -> tuple[int, list[str]]:
    """Its exit status, and the tests that failed."""
    with tempfile.TemporaryDirectory(prefix="ferry-tests-") as cache:
        command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *words]
        status = subprocess.run(command, check=False).returncode
        return status, failures(Path(cache))


def failures(cache: Path) -> list[str]:
    """What pytest keeps of the tests that failed; empty: it kept nothing."""
    kept = cache / "v" / "cache" / "lastfailed"
    return list(json.loads(kept.read_text())) if kept.exists() else []


def say(line: str, *names: str) -> None:
    print("\n".join((f"tests.repeat: {line}", *(f"  {name}" for name in names))), flush=True)


if __name__ == "__main__":
    sys.exit(main())
