"""A control plane that cannot start says so at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.kubernetes.control_plane import ProcessEndedError, control_plane

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("ends", ["etcd", "kube-apiserver"])
def test_a_process_that_ends_is_named_with_its_last_lines(ends: str, tmp_path: Path) -> None:
    programs, folder = tmp_path / "programs", tmp_path / "data"
    programs.mkdir()
    folder.mkdir()
    for name in ("etcd", "kube-apiserver"):
        program(programs, name, "exec sleep 600")
    program(programs, ends, "seq 100; echo 'unknown flag: --endpoint' >&2; exit 7")
    said = rf"{ends} ended with 7:\n(?s:.*)100\nunknown flag: --endpoint$"
    with pytest.raises(ProcessEndedError, match=said) as failed, control_plane(folder, programs):
        pass
    assert "\n50\n" not in str(failed.value)
