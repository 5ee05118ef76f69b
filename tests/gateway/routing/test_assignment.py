"""Who falls to which variant, and who moves when the weights change."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing.assignment import Assignment
from gateway.routing.table import RoutingTable, VariantEntry

KEYS = [f"caller-{n}".encode() for n in range(2000)]


def assignment(salt: str = "", **weights: float) -> Assignment:
    entries = tuple(VariantEntry(name=name, address="e:1", weight=weight) for name, weight in weights.items())
    return Assignment(RoutingTable(salt=salt, variants=entries))


def test_the_same_caller_always_falls_to_the_same_variant() -> None:
    one, other = (assignment(stable=1, canary=1) for _ in range(2))
    assert [one.of_key(key) for key in KEYS] == [other.of_key(key) for key in KEYS]


def test_known_keys_fall_as_ever() -> None:
    """Every gateway of every version must agree, or callers would move during an upgrade of the gateway."""
    chosen = assignment("spring", stable=3, canary=1)
    assert [chosen.of_key(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [
        *("stable", "canary", "canary", "stable", "stable")
    ]


def test_shares_are_kept() -> None:
    chosen = assignment(stable=0.8, canary=0.2)
    share = sum(chosen.of_key(key) == "canary" for key in KEYS) / len(KEYS)
    # Five standard deviations of a binomial share; the keys are fixed, so it holds always or never.
    assert share == pytest.approx(0.2, abs=5 * (0.2 * 0.8 / len(KEYS)) ** 0.5)


def test_another_salt_shares_out_anew() -> None:
    one, other = assignment("spring", stable=1, canary=1), assignment("autumn", stable=1, canary=1)
    same = sum(one.of_key(key) == other.of_key(key) for key in KEYS)
    assert same == pytest.approx(len(KEYS) / 2, abs=5 * (len(KEYS) / 4) ** 0.5)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
    st.sampled_from([("stable", "canary"), ("canary", "stable")]),
)
@settings(max_examples=50, deadline=None)
def test_a_growing_canary_only_takes_callers_from_stable(shares: list[float], order: tuple[str, str]) -> None:
    before, after = (
        assignment(**{name: share if name == "canary" else 1 - share for name in order}) for share in shares
    )
    for key in KEYS[:300]:
        assert (before.of_key(key), after.of_key(key)) != ("canary", "stable")


@pytest.mark.parametrize("grows", ["canary", "trial"])
def test_a_third_variant_loses_nobody_while_another_grows(grows: str) -> None:
    small = {"stable": 0.8, "canary": 0.1, "trial": 0.1}
    large = {**small, grows: 0.3, "stable": 0.6}
    moves = {(a, b) for key in KEYS if (a := assignment(**small).of_key(key)) != (b := assignment(**large).of_key(key))}
    assert moves == {("stable", grows)}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.7])
def test_a_share_that_is_set_moves_callers_between_stable_and_that_variant_alone(share: float) -> None:
    weights = {"stable": 0.5, "canary": 0.2, "trial": 0.3}
    entries = tuple(VariantEntry(name=name, address="e:1", weight=weight) for name, weight in weights.items())
    table = RoutingTable(variants=entries)
    changed = table.with_share("canary", share)
    assert changed.shares == pytest.approx({"stable": 0.7 - share, "canary": share, "trial": 0.3})
    assert changed.with_share("canary", 0.2).shares == pytest.approx(weights), "and back again"
    before, after = Assignment(table), Assignment(changed)
    moves = {(a, b) for key in KEYS if (a := before.of_key(key)) != (b := after.of_key(key))}
    assert moves == {("stable", "canary") if share > 0.2 else ("canary", "stable")}


def test_a_variant_without_weight_gets_nobody() -> None:
    assert {assignment(stable=1, canary=0).of_key(key) for key in KEYS} == {"stable"}
    assert {assignment(stable=0, canary=1).of_key(key) for key in KEYS} == {"canary"}


def test_the_ends_of_the_interval_belong_to_somebody() -> None:
    chosen = assignment(stable=0.1, canary=0.2, trial=0.7)
    assert {chosen.at(0.0), chosen.at(1 - 2**-53)} <= {"stable", "canary", "trial"}
