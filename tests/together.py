"""Which tests one process runs, where there are several."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

SHARED = ("tests/e2e/", "tests/deploy/")
"""Folders whose files share what takes long: a running cluster, rendered manifests."""


class Together(LoadScopeScheduling):
    """Those of a file, and those of a folder that shares something."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in SHARED if file.startswith(folder)), file)
