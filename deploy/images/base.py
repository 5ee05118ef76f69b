"""The base image, from Debian's packages, where there is no registry to pull it from."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from deploy.images.tool import ImagesError, call

BASE = "docker.io/library/debian:bookworm-slim"
"""What the Dockerfile's FROM names; a local image of this name is used before any registry is asked."""

_MIRROR = "http://deb.debian.org/debian"
_SOURCES = f"""\
deb {_MIRROR} bookworm main
deb {_MIRROR} bookworm-updates main
deb {_MIRROR}-security bookworm-security main
"""
# What makes Debian's own image "slim": no manuals or translations; copyright files stay, as licences ask.
_DPKG = """\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
"""
# A build has no init system: packages must not start services, nor fail because they cannot.
_POLICY = "#!/bin/sh\nexit 101\n"
_EMPTIED = ("usr/share/info", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists", "var/log")


def exists() -> bool:
    """Whether the base is on this machine."""
    return bool(call(("buildah", "images", "--quiet", "--filter", f"reference={BASE}")))


def pull() -> bool:
    """Tries a registry; False where none answers."""
    try:
        call(("buildah", "pull", "--quiet", BASE))
    except ImagesError:
        return False
    return True


def bootstrap() -> None:
    """Makes the base with debootstrap. Needs root and a minute.

    Raises:
        ImagesError: debootstrap or buildah fails.
    """
    with tempfile.TemporaryDirectory(prefix="ferry-base-") as folder:
        root = Path(folder) / "root"
        call(("debootstrap", "--variant=minbase", "bookworm", str(root), _MIRROR))
        slim(root)
        container = call(("buildah", "from", "scratch"))
        try:
            call(("buildah", "add", "--quiet", container, str(root), "/"))
            call(("buildah", "config", "--cmd", "bash", container))
            call(("buildah", "commit", "--quiet", container, BASE))
        finally:
            call(("buildah", "rm", container))


def slim(root: Path) -> None:
    """Removes what Debian's slim image does without, and keeps packages installed later from bringing it."""
    for folder in _EMPTIED:
        for path in (root / folder).glob("*"):
            _remove(path)
    for path in [*(root / "usr/share/doc").rglob("*")]:
        if not path.is_dir() and path.name != "copyright":
            path.unlink()
    (root / "etc/apt/sources.list").write_text(_SOURCES)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_DPKG)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(_POLICY)
    policy.chmod(0o755)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
