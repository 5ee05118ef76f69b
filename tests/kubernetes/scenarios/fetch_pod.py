"""Runs in a pod: serves the model repository as one archive over HTTP, whole and in half."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def pack(repository: Path, folder: Path) -> str:
    """Writes models.tar, and half.tar with its first half; returns the SHA-256 of the first."""
    whole = folder / "models.tar"
    with tarfile.open(whole, "w") as archive:
        for path in sorted(repository.iterdir()):
            archive.add(path, path.name, filter=lambda member: None if "tuning-" in member.name else member)
    content = whole.read_bytes()
    (folder / "half.tar").write_bytes(content[: len(content) // 2])
    return hashlib.sha256(content).hexdigest()


def main(repository: str, folder: str, port: str) -> None:
    print(pack(Path(repository), Path(folder)), flush=True)
    ThreadingHTTPServer(("", int(port)), partial(SimpleHTTPRequestHandler, directory=folder)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
