"""Writes golden.json: what the published models say of the sample photos. To be run when a model is published.

python -m tests.e2e.make_golden
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from tests.e2e.conftest import MODELS, SAMPLES
from tests.e2e.reference import recognize

GOLDEN = Path(__file__).with_name("golden.json")
DIGITS = 6


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def main() -> None:
    recipe = read_recipe(DEFAULT_RECIPE)
    answers = {name: asdict(recognize(path.read_bytes(), MODELS, recipe)) for name, path in SAMPLES.items()}
    GOLDEN.write_text(json.dumps(_rounded(answers), indent=1) + "\n")
    print(f"wrote {GOLDEN}")


if __name__ == "__main__":
    main()
