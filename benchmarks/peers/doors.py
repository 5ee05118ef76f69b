"""How each server is asked: from a body to a request, from a response to an answer."""

from __future__ import annotations

import asyncio
import base64
import json
from abc import ABC, abstractmethod
from typing import Any, cast

import numpy as np

from benchmarks.peers.kernels import EXPRESSIONS
from benchmarks.unary import Pool
from ferry.v1 import classifier_pb2, gateway_pb2
from serving.tensors import from_tensor, to_tensor

TIMEOUT = 60.0
"""Seconds for an answer."""


class Door(ABC):
    """A way to ask one server, from any number of callers at once."""

    def __init__(self, port: int) -> None:
        self.port = port

    @abstractmethod
    async def ask(self, body: bytes) -> Any:
        """The response to one body, not looked into.

        Raises:
            Exception: it was not answered, or with an error.
        """

    @abstractmethod
    def read(self, response: Any) -> Any:
        """A response as `Kernels.answer` would have given it."""

    @abstractmethod
    async def close(self) -> None:
        """Ends its connections."""


class Http(Door):
    """HTTP/1.1 with connections kept open: as little as a client can do, since it shares the server's CPUs."""

    path = "/"
    content_type = "application/octet-stream"

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def wrap(self, body: bytes) -> bytes:
        """The body of the request."""
        return body

    def headers(self, body: bytes) -> str:
        """More header lines, each with its end."""
        return ""

    def read(self, response: Any) -> Any:
        return json.loads(response)

    async def ask(self, body: bytes) -> bytes:
        sent = self.wrap(body)
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: {self.content_type}\r\n"
            f"{self.headers(body)}content-length: {len(sent)}\r\n\r\n"
        )
        async with asyncio.timeout(TIMEOUT):
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(head.encode() + sent)
                status, closes, answer = await _response(reader)
            except BaseException:
                writer.close()
                raise
        if closes:
            writer.close()
        else:
            self._idle.append((reader, writer))
        if status != 200:
            raise RuntimeError(f"HTTP {status}: {answer[:200].decode(errors='replace')}")
        return answer

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _response(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Status, whether the connection ends here, and body."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) if ": " in line else line.split(":", 1) for line in lines[1:] if ":" in line)
    status, closes = int(lines[0].split()[1]), fields.get("connection") == "close"
    if "content-length" in fields:
        return status, closes, await reader.readexactly(int(fields["content-length"]))
    if fields.get("transfer-encoding") != "chunked":
        return status, True, await reader.read()
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return status, closes, b"".join(parts)


class Mosec(Http):
    path = "/inference"


class FastApi(Http):
    path = "/recognize"


class LitServe(Http):
    path = "/predict"
    content_type = "application/json"

    def wrap(self, body: bytes) -> bytes:
        return b'{"image":"' + base64.b64encode(body) + b'"}'

    def read(self, response: Any) -> Any:
        return json.loads(response)["answer"]


class BentoMl(Http):
    path = "/recognize"
    content_type = "application/json"

    def wrap(self, body: bytes) -> bytes:
        return b'{"images":["' + base64.b64encode(body) + b'"]}'

    def read(self, response: Any) -> Any:
        return json.loads(response)[0]


class Triton(Http):
    """KServe's protocol with its binary extension."""

    path = "/v2/models/recognizer/infer"

    def _head(self, body: bytes) -> bytes:
        given = {"name": "image", "shape": [1, len(body)], "datatype": "UINT8"}
        wanted = {"name": "answer", "parameters": {"binary_data": False}}
        sent = given | {"parameters": {"binary_data_size": len(body)}}
        return json.dumps({"inputs": [sent], "outputs": [wanted]}).encode()

    def wrap(self, body: bytes) -> bytes:
        return self._head(body) + body

    def headers(self, body: bytes) -> str:
        return f"inference-header-content-length: {len(self._head(body))}\r\n"

    def read(self, response: Any) -> Any:
        return json.loads(json.loads(response)["outputs"][0]["data"][0])


class Grpc(Door):
    """A unary call of bytes, each caller over a connection of its own, as over HTTP."""

    path = "/peers.Recognizer/Recognize"

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._pool = Pool([("127.0.0.1", port)])

    def wrap(self, body: bytes) -> bytes:
        """The request's message."""
        return body

    async def ask(self, body: bytes) -> Any:
        return await self._pool.call(self.path, self.wrap(body), TIMEOUT)

    def read(self, response: Any) -> Any:
        return json.loads(response)

    async def close(self) -> None:
        self._pool.close()


class Ferry(Grpc):
    """Ferry's gateway."""

    path = "/ferry.v1.ExpressionRecognition/Recognize"

    def wrap(self, body: bytes) -> bytes:
        return gateway_pb2.RecognizeRequest(image=body).SerializeToString()

    async def ask(self, body: bytes) -> Any:
        response = gateway_pb2.RecognizeResponse.FromString(await super().ask(body))
        if response.degraded:
            raise RuntimeError("a degraded answer")
        return response

    def read(self, response: Any) -> Any:
        return [
            {
                "box": [face.box.x_min, face.box.y_min, face.box.x_max, face.box.y_max],
                "score": face.detection_score,
                "expression": EXPRESSIONS[int(np.argmax(shares))],
                "probabilities": shares,
            }
            for face in cast(gateway_pb2.RecognizeResponse, response).faces
            for shares in [[e.probability for e in sorted(face.probabilities, key=lambda e: e.expression)]]
        ]


class FerryClassifier(Grpc):
    """One of Ferry's classifiers: a crop of 64 x 64."""

    path = "/ferry.v1.Classifier/Classify"

    def wrap(self, body: bytes) -> bytes:
        side = int((len(body) / 3) ** 0.5)
        crops = to_tensor(np.frombuffer(body, np.uint8).reshape(1, side, side, 3))
        return classifier_pb2.ClassifyRequest(crops=crops).SerializeToString()

    def read(self, response: Any) -> Any:
        answer = classifier_pb2.ClassifyResponse.FromString(response)
        return from_tensor(answer.probabilities, "probabilities")[0].tolist()


DOORS: dict[str, type[Door]] = {
    "mosec": Mosec,
    "litserve": LitServe,
    "bentoml": BentoMl,
    "ray": Http,
    "triton": Triton,
    "grpc": Grpc,
    "fastapi": FastApi,
    "ferry": Ferry,
    "ferry-classifier": FerryClassifier,
}
