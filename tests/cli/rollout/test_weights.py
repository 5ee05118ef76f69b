"""The routing table is read from the cluster, or it is said why it is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli.rollout.errors import RolloutError
from cli.rollout.weights import read_table

DEEP = 100_000


@pytest.mark.parametrize("text", ["variants = 1", "variants =", "variants = " + "[" * DEEP + "]" * DEEP])
def test_what_is_no_routing_table_is_an_error_in_words(text: str) -> None:
    kubectl: Any = SimpleNamespace(get=lambda *_: {"data": {"routing.toml": text}, "metadata": {}})
    with pytest.raises(RolloutError, match="is no routing table"):
        read_table(kubectl)
