"""`python -m tests.kubernetes.events FILE...`: what docs/incidents/events.md has of files cluster-test.json."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.kubernetes.scenarios.outcome import Outcome
from tests.kubernetes.scenarios.report import kept, pictured, slug

ORDINARY = re.compile(r"Scheduled|Pulled|Created|Started|Successful(Create|Delete)|NodeHas\w+")
"""Reasons of every start and end of a pod."""
_POD = re.compile(r"-[a-z0-9]{5,10}-[a-z0-9]{5}$")


def told(lines: Iterable[str]) -> Iterator[str]:
    """The first event of each reason for each kind of object, without those of every start, and how many objects had
    it; a service stands for its pods."""
    first: dict[tuple[str, str], str] = {}
    objects: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in lines:
        at, kind, reason, about, message = line.split("  ", 4)
        if ORDINARY.fullmatch(reason):
            continue
        about = _POD.sub("", about)
        key = reason, about.partition("/")[0]
        objects[key].add(about)
        first.setdefault(key, f"{at:>4}  {kind:7}  {reason}  {about}  {re.sub(r' [(]x[0-9]+[)]$', '', message)}")
    for key, line in first.items():
        others = len(objects[key]) - 1
        yield line + (f"  (and of {others} more)" if others else "")


def figures(outcome: Outcome) -> str:
    """How the calls went, in a sentence."""
    degraded = f", {outcome.degraded} answered without one of the models" if outcome.degraded else ""
    return (
        f"{len(outcome.failures)} of {len(outcome.calls):,} calls failed{degraded}; the longest waited "
        f"{outcome.longest:.2f} s. It took {outcome.ended - outcome.began:.0f} s."
    )


def main(files: Iterable[Path]) -> None:
    for file in files:
        for outcome in kept(file):
            found = list(told(outcome.kubernetes))
            parts = [
                f"![calls and panels]({slug(outcome)}.png)" if pictured(outcome) else "",
                figures(outcome) if outcome.calls else "",
                "\n".join(["```", *found, "```"]) if found else "",
            ]
            if any(parts):
                print(f"\n## {outcome.scenario}", *filter(None, parts), sep="\n\n")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
