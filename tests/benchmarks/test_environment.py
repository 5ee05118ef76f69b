"""What a benchmark sets for its processes is gone afterwards."""

from __future__ import annotations

import os

import pytest

from benchmarks.environment import environment


@pytest.mark.parametrize("before", [None, "1"])
def test_a_variable_is_set_for_a_while(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "FERRY_SOME_SETTING"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    with environment({name: "2"}):
        assert os.environ[name] == "2"
    assert os.environ.get(name) == before
