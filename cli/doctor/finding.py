"""What a look at a cluster comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is; only `WRONG` makes the command fail."""

    GOOD = "good"
    ADVICE = "advice"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        check: what was looked at, a word or two.
        verdict: how it is.
        said: what was seen.
        remedy: what to do; empty where all is good.
    """

    check: str
    verdict: Verdict
    said: str
    remedy: str = ""


def good(check: str, said: str) -> Finding:
    """All is as it should be."""
    return Finding(check, Verdict.GOOD, said)


def advice(check: str, said: str, remedy: str) -> Finding:
    """It works, and could break, or could not be looked at."""
    return Finding(check, Verdict.ADVICE, said, remedy)


def wrong(check: str, said: str, remedy: str) -> Finding:
    """It does not work, or would not survive the next drain, rollout or night."""
    return Finding(check, Verdict.WRONG, said, remedy)
