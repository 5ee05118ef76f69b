"""Certificates for tests: an authority made on the spot, and files that are renewed as cert-manager renews them."""

from __future__ import annotations

import os
from pathlib import Path

import trustme

from ferry.tls import Tls


class Certificates:
    """A folder with `ca.crt`, `tls.crt` and `tls.key`, behind a link that is exchanged in one step, as in a mounted
    Secret."""

    def __init__(self, folder: Path, authority: trustme.CA, *names: str) -> None:
        self._folder = folder
        self._authority = authority
        self._names = names or ("localhost", "127.0.0.1")
        self._versions = 0
        folder.mkdir()
        self.renew()
        self.tls = Tls(*(folder / "current" / file for file in ("ca.crt", "tls.crt", "tls.key")))

    def renew(self, authority: trustme.CA | None = None) -> None:
        """New files of the same authority, or of another one that becomes the only one trusted."""
        self._authority = authority or self._authority
        self._versions += 1
        version = self._folder / str(self._versions)
        version.mkdir()
        issued = self._authority.issue_cert(*self._names)
        self._authority.cert_pem.write_to_path(version / "ca.crt")
        issued.private_key_pem.write_to_path(version / "tls.key")
        (version / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        (self._folder / "next").symlink_to(version.name)
        os.replace(self._folder / "next", self._folder / "current")  # noqa: PTH105

    @property
    def settings(self) -> dict[str, Path | None]:
        """For a service."""
        return {"tls_ca": self.tls.ca, "tls_cert": self.tls.cert, "tls_key": self.tls.key}
