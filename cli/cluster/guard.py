"""What services ask their callers for, by variables that they inherit from `ferry serve`."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """What callers need.

    Attributes:
        tls: whether they have to speak TLS.
        authority: file with the authorities that their certificates must come from; empty: they need none.
        keys: whether they need an API key.
    """

    tls: bool
    authority: str
    keys: bool

    @staticmethod
    def of_environment() -> Guard:
        """By FERRY_TLS_CERT, FERRY_TLS_CA and FERRY_API_KEYS."""
        tls = bool(os.environ.get("FERRY_TLS_CERT"))
        authority = os.environ.get("FERRY_TLS_CA", "") if tls else ""
        return Guard(tls, authority, bool(os.environ.get("FERRY_API_KEYS")))

    @property
    def open(self) -> bool:
        """Whether anybody is answered."""
        return not (self.tls or self.keys)

    @property
    def scheme(self) -> str:
        """Of URLs."""
        return "https" if self.tls else "http"

    @property
    def ferry(self) -> str:
        """Options of `ferry` commands, with a blank before each."""
        ca = f" --tls-ca {self.authority or 'FILE'}" if self.tls else ""
        own = " --tls-cert FILE --tls-key FILE" if self.authority else ""
        return ca + own + (" --api-key KEY" if self.keys else "")

    @property
    def curl(self) -> str:
        """Options of curl, with a blank before each."""
        ca = f" --cacert {self.authority or 'FILE'}" if self.tls else ""
        own = " --cert FILE --key FILE" if self.authority else ""
        return ca + own + (" -H 'Authorization: Bearer KEY'" if self.keys else "")
