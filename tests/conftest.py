"""No test depends on the processor it runs on: what the processor can do is given. Nor on what runs beside it.

A test that says nothing gets a processor without any extension; `processors.py` names the others. The variable
FERRY_TEST_PROCESSOR gives another one to all tests, which `make test-processors` uses.

Where tests run in several processes, those of a file stay together, and so do the end-to-end tests (one cluster).
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from serving import cpu
from tests.processors import PROCESSORS

# pytest-xdist gives it to its workers, and tables would be as narrow as the terminal.
os.environ.pop("COLUMNS", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Says what stays together: for `pytest -n 2 --dist loadfile`."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.together import Together

    return Together(config, log)


@pytest.fixture(autouse=True)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the processor that this test runs on, as far as Ferry's choices go.

    A test is given another one by `@pytest.mark.parametrize("processor", [...], indirect=True)`.
    """
    name: str = getattr(request, "param", os.environ.get("FERRY_TEST_PROCESSOR", "plain"))
    if name != "real":
        monkeypatch.setattr(cpu, "cpu_flags", lambda: PROCESSORS[name])
    return name
