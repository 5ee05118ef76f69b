"""Generates ferry/v1 (messages, services and their type stubs) from protos/.

Usage: python protos/generate.py [--check]    --check: fail where the committed code differs
"""

from __future__ import annotations

import filecmp
import importlib.resources
import subprocess
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
TARGET = PROTOS.parent / "ferry" / "v1"


def generate(out: Path) -> None:
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("ferry/v1/*.proto"))
    arguments = ["protoc", f"-I{PROTOS}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    arguments += [*plugins, f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"]
    if protoc.main([*arguments, *files]) != 0:
        raise SystemExit("protoc failed")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / "ferry" / "v1"
        names = sorted(path.name for path in fresh.iterdir())
        if "--check" in sys.argv[1:]:
            _, different, missing = filecmp.cmpfiles(fresh, TARGET, names, shallow=False)
            if different or missing:
                raise SystemExit(f"generated code is stale: {', '.join(different + missing)}; run `make proto`")
            print(f"{len(names)} generated files are up to date")
            return
        TARGET.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", *(str(fresh / name) for name in names), str(TARGET)], check=True)
        (TARGET / "__init__.py").touch()
        print(f"wrote {len(names)} files to {TARGET}")


if __name__ == "__main__":
    main()
