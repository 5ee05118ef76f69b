"""No test depends on the processor it runs on: what the processor can do is given.

A test that says nothing gets a processor without any extension; `processors.py` names the others. The variable
FERRY_TEST_PROCESSOR gives another one to all tests, which `make test-processors` uses.
"""

from __future__ import annotations

import os

import pytest

from serving import cpu
from tests.processors import PROCESSORS


@pytest.fixture(autouse=True)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the processor that this test runs on, as far as Ferry's choices go.

    A test is given another one by `@pytest.mark.parametrize("processor", [...], indirect=True)`.
    """
    name: str = getattr(request, "param", os.environ.get("FERRY_TEST_PROCESSOR", "plain"))
    if name != "real":
        monkeypatch.setattr(cpu, "cpu_flags", lambda: PROCESSORS[name])
    return name
