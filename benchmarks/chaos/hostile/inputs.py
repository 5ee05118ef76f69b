"""What hostile callers send: messages, pictures, metadata and HTTP/2 frames, made by chance from a seed."""

from __future__ import annotations

import io
import random
import struct

from PIL import Image

from ferry.v1 import ensembler_pb2, gateway_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SERVICE = "/ferry.v1.ExpressionRecognition/"
METHODS = tuple(
    SERVICE + name
    for name in (
        *("Recognize", "RecognizeBatch", "RecognizeMany", "GetStatus", "SubmitFeedback", "SubmitFeedbackBatch"),
        *("RecognizeStream", "SubmitJob", "GetJob", "CancelJob", "Nothing"),
    )
)
_NAMES = (
    "x-ferry-lost",
    "x-ferry-variant",
    "x-ferry-image-bytes",
    "x-request-id",
    "traceparent",
    "tracestate",
    "authorization",
    "grpc-previous-rpc-attempts",
    "x-whatever",
)
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_FRAME_KINDS = 12
"""Kinds that HTTP/2 knows, and a few that it does not."""

Metadata = tuple[tuple[str, str | bytes], ...]


class Inputs:
    """Draws inputs. The same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        image = Image.frombytes("RGB", (64, 48), self.chance.randbytes(64 * 48 * 3))
        self._pictures = [_encoded(image, format_) for format_ in _FORMATS]
        request = gateway_pb2.RecognizeRequest(
            image=b"\xff\xd8\xff\xe0" + bytes(40),
            options=ensembler_pb2.RecognizeOptions(max_faces=3, min_face_size=24.0, detail=2),
        )
        self._message = request.SerializeToString()

    def message(self) -> bytes:
        """Bytes in the place of a message: nonsense, or one that has been tampered with."""
        if self.chance.random() < 0.2:
            return self.chance.randbytes(self.chance.randrange(200))
        return self._tampered(self._message)

    def picture(self) -> bytes:
        """A request whose image has been tampered with."""
        image = self._tampered(self.chance.choice(self._pictures))
        return gateway_pb2.RecognizeRequest(image=image, bypass_cache=True).SerializeToString()

    def metadata(self) -> Metadata:
        """Names that mean something, with values that do not."""
        return tuple(self._pair() for _ in range(self.chance.randrange(1, 12)))

    def frames(self) -> bytes:
        """What follows on a connection: the beginning of HTTP/2 and frames without sense, or no HTTP/2 at all."""
        if self.chance.random() < 0.1:
            return self.chance.randbytes(self.chance.randrange(1, 400))
        settings = _frame(4, 0, 0, b"")
        return PREFACE + settings + b"".join(self._frame() for _ in range(self.chance.randrange(1, 30)))

    def unfinished(self) -> bytes:
        """The beginning of a call whose message never comes whole."""
        head = PREFACE + _frame(4, 0, 0, b"")
        return head[: self.chance.randrange(1, len(head) + 1)] + _frame(0, 0, 1, b"\0\0\0\x40\0")[:-1]

    def _pair(self) -> tuple[str, str | bytes]:
        chance = self.chance
        if chance.random() < 0.2:
            return f"{chance.choice(_NAMES)}-bin", chance.randbytes(chance.randrange(400))
        length = chance.choice((0, 1, 8, 60, 600))
        return chance.choice(_NAMES), "".join(chr(chance.randrange(0x20, 0x7F)) for _ in range(length)).strip()

    def _frame(self) -> bytes:
        chance = self.chance
        payload = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 40, 300)))
        stream = chance.choice((0, 1, 2, 3, 7, 0x7FFFFFFF))
        return _frame(chance.randrange(_FRAME_KINDS), chance.randrange(256), stream, payload)

    def _tampered(self, data: bytes) -> bytes:
        chance, changed = self.chance, bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            if not changed:
                break
            at = chance.randrange(len(changed))
            match chance.randrange(4):
                case 0:
                    changed[at] ^= 1 << chance.randrange(8)
                case 1:
                    changed[at:] = b""
                case 2:
                    changed[at:at] = chance.randbytes(chance.randrange(20))
                case _:
                    changed[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        return bytes(changed)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _encoded(image: Image.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()
