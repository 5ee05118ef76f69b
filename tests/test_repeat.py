"""A test that fails by chance does not fail a run, is named, and hides no fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOOD = "def test_good(): pass\n"
BAD = "def test_bad(): assert False\n"
FLAKY = """
from pathlib import Path
def test_flaky():
    runs = Path(__file__).with_suffix(".runs")
    before = int(runs.read_text()) if runs.exists() else 0
    runs.write_text(str(before + 1))
    assert before not in FAILS
"""


def run(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "tests.repeat", "--rootdir", str(folder), "test_it.py", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [(), ("-p", "xdist", "-n", "2")], ids=["one process", "two"])
@pytest.mark.parametrize(("fails", "passed"), [("{0}", 3), ("{0, 2}", 2), ("{0, 1, 2}", 1)])
def test_a_test_that_fails_and_passes_is_named_and_the_run_succeeds(
    tmp_path: Path, words: tuple[str, ...], fails: str, passed: int
) -> None:
    done = run(tmp_path, FLAKY.replace("FAILS", fails) + GOOD, *words)
    assert done.returncode == 0, done.stdout
    last = done.stdout.splitlines()[-2:]
    assert last[0] == "tests.repeat: flaky: failed, then passed alone; each is to be mended"
    assert last[1] == f"  test_it.py::test_flaky ({passed} of 3)"
    assert (tmp_path / "test_it.runs").read_text() == "4"


def test_a_test_that_fails_each_time_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, FLAKY.replace("FAILS", "{0}") + BAD)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == [
        "tests.repeat: failed alone 3 times of 3, too",
        "  test_it.py::test_bad",
    ]


def test_many_failures_are_no_chance(tmp_path: Path) -> None:
    done = run(tmp_path, "".join(BAD.replace("bad", f"bad_{i}") for i in range(6)))
    assert done.returncode == 1
    assert done.stdout.endswith("tests.repeat: 6 tests failed; more than 5 are not repeated\n")


def test_what_is_no_failure_of_a_test_is_not_repeated(tmp_path: Path) -> None:
    assert run(tmp_path, "import nothing_of_that_name\n").returncode == 2
    assert run(tmp_path, GOOD, "-k", "neither").returncode == 5
    assert run(tmp_path, GOOD).returncode == 0
