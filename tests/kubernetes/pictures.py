"""`python -m tests.kubernetes.pictures FOLDER FILE...`: a picture of each scenario in files cluster-test.json."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kubernetes.scenarios.outcome import Event, Outcome, call_of
from tests.kubernetes.scenarios.report import draw


def outcomes(text: str) -> Iterator[Outcome]:
    """Those of a cluster-test.json."""
    given: dict[str, Any]
    for given in json.loads(text):
        calls, events = [call_of(call) for call in given["calls"]], [Event(**event) for event in given["events"]]
        yield Outcome(**{**given, "calls": calls, "events": events})


def slug(title: str) -> str:
    """The name of a scenario's file."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower())[:7])


def main(folder: Path, files: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        for outcome in outcomes(file.read_text()):
            if outcome.calls:
                draw([outcome], folder / f"{slug(outcome.scenario)}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
