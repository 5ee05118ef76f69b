"""Imports point one way, of packages and of their rooms: benchmarks -> cli -> gateway, modelkit, deploy -> services ->
serving -> ferry; and files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

PACKAGES = ("ferry", "serving", "services", "gateway", "single", "modelkit", "cli")
ALLOWED = {
    "ferry": {"ferry"},
    "serving": {"serving", "ferry"},
    "services": {"services", "serving", "ferry"},
    "gateway": {"gateway", "serving", "ferry"},
    "single": {"single", "gateway", "services", "serving", "ferry"},
    "modelkit": {"modelkit", "services", "serving", "ferry"},
    "cli": {*PACKAGES, "deploy"},
    "deploy": {"deploy", "serving", "ferry"},
    "benchmarks": {*PACKAGES, "deploy", "benchmarks"},
}
"""Which of Ferry's packages each may import, tests excepted. Services, besides, do not import each other."""
ROOMS = {
    "gateway": {
        "store": set(),
        "routing": {"store"},
        "admission": set(),
        "cache": {"store"},
        "experiments": {"routing", "store"},
        "recognize": {"admission", "cache", "experiments", "routing"},
        "inference_v2": {"admission", "recognize", "routing"},
        "jobs": {"admission", "recognize", "routing", "store"},
        "http": {"admission", "inference_v2", "routing"},
    },
    "serving": {
        "images": set(),
        "telemetry": set(),
        "repository": {"telemetry"},
        "rpc": {"telemetry"},
        "models": {"repository", "telemetry"},
        "inference_v2": {"models", "repository", "rpc"},
    },
}
"""Which rooms of its package each may import; what lies beside the rooms is free to all."""
TOOLCHAIN = {"torch", "torchvision", "timm", "ultralytics", "onnxscript", "pyarrow", "sklearn", "skimage", "matplotlib"}
MAX_LINES = 400
GENERATED = {Path("ferry/v1"), Path("ferry/inference")}
FILES = sorted(
    path.relative_to(ROOT)
    for folder in (*ALLOWED, "tests")
    for path in (ROOT / folder).rglob("*.py")
    if not GENERATED & {path.relative_to(ROOT).parent}
)


def modules(path: Path, top_level: bool = False) -> Iterator[str]:
    """Full names of the modules that a file imports, relative imports resolved; with top_level only at import time."""
    tree = ast.parse((ROOT / path).read_text())
    nodes = _at_import_time(tree) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.parts[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from services import detector` imports services.detector.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _only_for_types(child):
            continue
        yield child
        yield from _at_import_time(child)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def product(package: str) -> list[Path]:
    return [path for path in FILES if path.parts[0] == package]


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_those_below_them(package: str) -> None:
    assert product(package)
    wrong = {
        f"{path}: {module}"
        for path in product(package)
        for module in modules(path)
        if module.split(".")[0] in {*ALLOWED, "tests"} - ALLOWED[package]
    }
    assert not wrong


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_only_those_below_them(package: str) -> None:
    allowed = ROOMS[package]
    rooms = {path.parts[1] for path in product(package) if len(path.parts) > 2}
    assert rooms == set(allowed), "say of a new room which others it may import"
    wrong = {
        f"{path}: {module}"
        for path in product(package)
        if len(path.parts) > 2
        for module in modules(path)
        if module.startswith(f"{package}.") and module.split(".")[1] in rooms - allowed[path.parts[1]] - {path.parts[1]}
    }
    assert not wrong


def test_services_do_not_import_each_other() -> None:
    wrong = {
        f"{path}: {module}"
        for path in product("services")
        if len(path.parts) > 2
        for module in modules(path)
        if module.startswith("services.") and module.split(".")[1] != path.parts[1]
    }
    assert not wrong


@pytest.mark.parametrize("package", ["ferry", "serving", "services", "gateway"])
def test_nothing_on_the_serving_side_imports_the_toolchain(package: str) -> None:
    wrong = {f"{p}: {m}" for p in product(package) for m in modules(p) if m.split(".")[0] in TOOLCHAIN}
    assert not wrong


def test_the_command_line_imports_the_toolchain_only_when_it_is_used() -> None:
    wrong = {
        f"{path}: {module}"
        for path in product("cli")
        for module in modules(path, top_level=True)
        if module.split(".")[0] in TOOLCHAIN
    }
    assert not wrong


def test_the_gateway_never_touches_pixels() -> None:
    wrong = {
        f"{path}: {module}"
        for path in product("gateway")
        for module in modules(path)
        if module.split(".")[0] in {"numpy", "onnxruntime", "openvino"} or module.startswith("serving.images.decode")
    }
    assert not wrong


SERVICES = ("detector", "classifier", "ensembler")
ENTRY_POINTS = ("ferry.client", "cli.main", "gateway.service", *(f"services.{name}.service" for name in SERVICES))
HEAVY = {"ferry.client": "numpy", "gateway.service": "numpy", "services.ensembler.service": "onnxruntime"}


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_importing_a_service_loads_no_toolchain(module: str) -> None:
    forbidden = TOOLCHAIN | {HEAVY[module]} if module in HEAVY else TOOLCHAIN
    program = f"import sys, {module}; print(*sorted(set({sorted(forbidden)!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_file_is_too_long() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in FILES}
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES}


def test_every_product_file_says_what_it_answers_for() -> None:
    silent = [
        str(path)
        for path in FILES
        if path.parts[0] in ALLOWED and (ROOT / path).read_text().strip()
        if not ast.get_docstring(ast.parse((ROOT / path).read_text()))
    ]
    assert not silent
