"""Asks a gateway with Triton's own client over HTTP, as its users do: it knows nothing of Ferry.

Usage: python triton_http.py GATEWAY PHOTO    prints what it learnt as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException


def images(*encoded: bytes) -> list[triton.InferInput]:
    given = triton.InferInput("image", [len(encoded)], "BYTES")
    given.set_data_from_numpy(np.array(encoded, np.object_))
    return [given]


def faces(result: Any) -> dict[str, Any]:
    return {
        "answer": [json.loads(text) for text in result.as_numpy("answer")],
        "boxes": result.as_numpy("boxes").tolist(),
        "expressions": [name.decode() for name in result.as_numpy("expressions")],
        "probabilities": result.as_numpy("probabilities").tolist(),
        "id": result.get_response().get("id", ""),
    }


def refused(ask: Any) -> list[str]:
    try:
        ask()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it answered")


def plainly(address: str, photo: bytes) -> dict[str, Any]:
    with triton.InferenceServerClient(address) as client:
        text = [triton.InferRequestedOutput("expressions", binary_data=False), triton.InferRequestedOutput("boxes")]
        some = client.infer("ferry", images(photo), outputs=text, parameters={"max_faces": 1})
        wrong = triton.InferInput("picture", [1], "BYTES")
        wrong.set_data_from_numpy(np.array([photo], np.object_))
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models": [
                client.is_model_ready("ferry"),
                client.is_model_ready("ferry", "9"),
                client.is_model_ready("no"),
            ],
            "server": client.get_server_metadata(),
            "model": client.get_model_metadata("ferry", "1"),
            "config": client.get_model_config("ferry"),
            "index": client.get_model_repository_index(),
            "faces": faces(client.infer("ferry", images(photo, photo), request_id="seven", timeout=60_000_000)),
            "later": faces(client.async_infer("ferry", images(photo)).get_result(timeout=60)),
            "some": [some.as_numpy("expressions").tolist(), some.as_numpy("boxes").tolist()],
            "unknown model": refused(lambda: client.infer("fairy", images(photo))),
            "unknown input": refused(lambda: client.infer("ferry", [wrong])),
            "no image": refused(lambda: client.infer("ferry", images(b"no image"))),
            "compressed": refused(lambda: client.infer("ferry", images(photo), request_compression_algorithm="gzip")),
        }


async def in_a_loop(address: str, photo: bytes) -> dict[str, Any]:
    async with triton_aio.InferenceServerClient(address) as client:
        answers = await asyncio.gather(*(client.infer("ferry", images(photo)) for _ in range(4)))
        return {"ready": await client.is_model_ready("ferry"), "faces": [faces(answer) for answer in answers]}


def main(gateway: str, path: str) -> None:
    photo = Path(path).read_bytes()
    print(json.dumps({"sync": plainly(gateway, photo), "aio": asyncio.run(in_a_loop(gateway, photo))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
