"""What a worker has to know of a job, and its form before it is sealed: a line of JSON, then the request."""

from __future__ import annotations

import json
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ferry.v1 import gateway_pb2
from gateway.routing.hints import Hints
from serving.rpc.identity import Identity, Proof


class WorkError(ValueError):
    """Bytes that are no work."""


@dataclass(frozen=True, slots=True)
class Work:
    """An image that somebody sent.

    Attributes:
        caller: who.
        hints: what decides the variant.
        request: the image and its options.
    """

    caller: Identity
    hints: Hints
    request: gateway_pb2.RecognizeRequest

    def pack(self) -> bytes:
        """As `unpack` reads it."""
        head = {
            "proof": self.caller.proof,
            "name": self.caller.name,
            "key": self.hints.key.hex(),
            "assigned": self.hints.assigned,
            "variant": self.hints.variant,
        }
        return json.dumps(head).encode() + b"\n" + self.request.SerializeToString()


def unpack(data: bytes) -> Work:
    """
    Raises:
        WorkError: it is none, or of a version that is not known here.
    """
    head, _, request = data.partition(b"\n")
    try:
        found = json.loads(head)
        return Work(
            Identity(Proof(found["proof"]), str(found["name"])),
            Hints(bytes.fromhex(found["key"]), str(found["assigned"]), str(found["variant"])),
            gateway_pb2.RecognizeRequest.FromString(request),
        )
    except (ValueError, KeyError, TypeError, DecodeError, RecursionError) as error:
        raise WorkError(str(error)) from error
