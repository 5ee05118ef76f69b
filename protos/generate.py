"""Generates ferry/v1 and ferry/inference (messages, services and their type stubs) from protos/.

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
ROOT = PROTOS.parent
# Where the code goes, and where its contract lies: a module `inference` of ours would be in others' way.
TARGETS = {"ferry/v1": "ferry/v1", "ferry/inference": "inference"}


def generate(out: Path) -> None:
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    files = [
        f"{target}/{path.name}"
        for target, source in TARGETS.items()
        for path in sorted(PROTOS.glob(f"{source}/*.proto"))
    ]
    paths = [f"-I{target}={PROTOS / source}" for target, source in TARGETS.items()]
    arguments = ["protoc", *paths, f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    arguments += [*plugins, f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"]
    if protoc.main([*arguments, *files]) != 0:
        raise SystemExit("protoc failed")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        names = sorted(
            f"{target}/{path.name}" for target in TARGETS for path in (Path(scratch) / target).glob("*_pb2*.py*")
        )
        if "--check" in sys.argv[1:]:
            _, different, missing = filecmp.cmpfiles(scratch, ROOT, names, shallow=False)
            if different or missing:
                raise SystemExit(f"generated code is stale: {', '.join(different + missing)}; run `make proto`")
            print(f"{len(names)} generated files are up to date")
            return
        for target in TARGETS:
            (ROOT / target).mkdir(parents=True, exist_ok=True)
            (ROOT / target / "__init__.py").touch()
        for name in names:
            subprocess.run(["cp", str(Path(scratch) / name), str(ROOT / name)], check=True)
        print(f"wrote {len(names)} files to {', '.join(TARGETS)}")


if __name__ == "__main__":
    main()
