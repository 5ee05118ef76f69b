"""More time for Ferry on a machine that has other work: the check is of what images hold, not of how fast it runs."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

from deploy.images.manifests import Json

SECONDS = 300
"""For one photo, and for each model to answer; the most that a recipe takes."""
_REDIS_SECONDS = 10


def patient(objects: Sequence[Json]) -> list[Json]:
    """The objects, with time: recipes wait for a model, and gateways for Redis, as long as the check does."""
    changed = copy.deepcopy(list(objects))
    for item in changed:
        if "recipe.toml" in item.get("data", {}):
            item["data"]["recipe.toml"] = _recipe(item["data"]["recipe.toml"])
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            variables = container.get("env", [])
            if any(variable["name"] == "FERRY_REDIS_URL" for variable in variables):
                variables.append({"name": "FERRY_REDIS_TIMEOUT", "value": str(_REDIS_SECONDS)})
    return changed


def _recipe(text: str) -> str:
    without = re.sub(r"^timeout = .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^(address = .*)$", rf"\1\ntimeout = {SECONDS}.0", without, flags=re.MULTILINE)
