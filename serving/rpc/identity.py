"""Who calls: known from a call's metadata and connection, before anything of its body is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Proof(StrEnum):
    """How a caller showed who it is."""

    NONE = "none"
    CERTIFICATE = "certificate"
    API_KEY = "api_key"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a call belongs to: quotas, rates, priorities, feedback and jobs are counted by it.

    Attributes:
        proof: how it is known.
        name: the client's, as the file of API keys or the certificate has it; empty for nobody in particular.
    """

    proof: Proof
    name: str

    def __str__(self) -> str:
        return f"{self.proof}:{self.name}" if self.name else "anonymous"


ANONYMOUS = Identity(Proof.NONE, "")
"""Whoever says nothing about itself, or calls where nobody is asked."""

UNTOLD = "other types of SAN"
"""What gRPC gives in the place of an alternative name that it cannot read, such as the user names that Microsoft's
authorities put first. It says nothing: all who have one would be the same caller."""
_NAMES = ("x509_subject_alternative_name", "x509_common_name")


def of_certificate(connection: Mapping[str, Iterable[bytes]]) -> Identity:
    """Who is at the other end, by its certificate: the first of its alternative names that can be read, else its common
    name.

    Args:
        connection: as `grpc.ServicerContext.auth_context` gives it. Names are there only where the server checked the
            certificate against its authorities.
    """
    for kind in _NAMES:
        for name in connection.get(kind) or ():
            if name and name != UNTOLD.encode():
                return Identity(Proof.CERTIFICATE, name.decode(errors="replace"))
    return ANONYMOUS
