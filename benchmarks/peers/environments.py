"""An environment for each peer, so that no one's requirements disturb another's or Ferry's."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.catalogue import Peer

KERNELS = ("onnxruntime", "openvino", "numpy", "pillow")
INSTALL_SECONDS = 900


class NotInstalledError(Exception):
    """A peer that cannot be installed or started here; says why."""


def python_of(peer: Peer, work: Path) -> Path:
    """The interpreter that runs a peer; its environment is made where it is missing.

    Args:
        peer: whose.
        work: folder of all environments.

    Raises:
        NotInstalledError: pip failed.
    """
    if not peer.environment:
        return Path(sys.executable)
    folder = work / peer.environment
    python = folder / "bin" / "python"
    wanted = [*(f"{name}=={version(name)}" for name in KERNELS), *peer.requirements]
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text().split() == wanted:
        return python
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"pip took more than {INSTALL_SECONDS} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip failed"]
        raise NotInstalledError(next((line for line in lines if line.startswith("ERROR")), lines[-1]))
    stamp.write_text("\n".join(wanted))
    return python
