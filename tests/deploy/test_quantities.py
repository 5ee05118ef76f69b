"""Quantities are numbers with one of Kubernetes' units; its schema takes any string."""

from __future__ import annotations

import pytest

from tests.deploy.manifests import COMBINATIONS, render
from tests.deploy.quantities import quantities, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250m", 0.25),
        ("1", 1),
        (2, 2),
        ("1.5", 1.5),
        ("768Mi", 768 * 2**20),
        ("1Gi", 2**30),
        ("2k", 2000),
        ("1e3", 1000),
    ],
)
def test_a_quantity_is_read(text: object, value: float) -> None:
    assert quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["banana", "", "1 Gi", "-1", "1mi", "1GB", None])
def test_what_is_none_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


def test_they_are_found_at_any_depth() -> None:
    pod = {"containers": [{"resources": {"limits": {"cpu": "1", "nvidia.com/gpu": 1}}}], "v": {"sizeLimit": "1Mi"}}
    claim = {"resources": {"requests": {"storage": "1Gi"}}}
    assert list(quantities([pod, claim])) == [
        ("cpu", "1"),
        ("nvidia.com/gpu", 1),
        ("sizeLimit", "1Mi"),
        ("storage", "1Gi"),
    ]


@pytest.mark.parametrize(("overlay", "components"), COMBINATIONS)
def test_every_quantity_parses(overlay: str, components: tuple[str, ...]) -> None:
    found = list(quantities(list(render(overlay, components))))
    assert len(found) > 20
    for key, text in found:
        assert quantity(text) > 0, key
