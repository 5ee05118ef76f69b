"""Asks a cluster with Triton's own client over gRPC, as its users do: it knows nothing of Ferry.

Usage: python triton_grpc.py GATEWAY DETECTOR CLASSIFIER PHOTO    prints what it learnt as JSON
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException


def tensor(name: str, values: Any, datatype: str) -> triton.InferInput:
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def images(*encoded: bytes) -> list[triton.InferInput]:
    return [tensor("image", np.array(encoded, np.object_), "BYTES")]


def faces(result: Any) -> dict[str, Any]:
    return {
        "answer": [json.loads(text) for text in result.as_numpy("answer")],
        "boxes": result.as_numpy("boxes").tolist(),
        "expressions": [name.decode() for name in result.as_numpy("expressions")],
        "probabilities": result.as_numpy("probabilities").tolist(),
        "id": result.get_response().id,
    }


def refused(ask: Any) -> list[str]:
    try:
        ask()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it answered")


def of_gateway(address: str, photo: bytes) -> dict[str, Any]:
    with triton.InferenceServerClient(address) as client:
        wanted = [triton.InferRequestedOutput("boxes")]
        came: queue.Queue[Any] = queue.Queue()
        client.async_infer("ferry", images(photo), lambda result, error: came.put((result, error)))
        later, error = came.get(timeout=60)
        assert error is None, error
        few = client.infer(
            "ferry", images(photo), outputs=wanted, parameters={"max_faces": 1}, compression_algorithm="gzip"
        )
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models": [
                client.is_model_ready("ferry"),
                client.is_model_ready("ferry", "9"),
                client.is_model_ready("no"),
            ],
            "server": client.get_server_metadata(as_json=True),
            "model": client.get_model_metadata("ferry", as_json=True),
            "config": client.get_model_config("ferry", as_json=True),
            "index": client.get_model_repository_index(as_json=True),
            "faces": faces(client.infer("ferry", images(photo, photo), request_id="seven", timeout=60_000_000)),
            "later": faces(later),
            "few": [output.name for output in few.get_response().outputs],
            "unknown model": refused(lambda: client.infer("fairy", images(photo))),
            "unknown version": refused(lambda: client.infer("ferry", images(photo), model_version="9")),
            "unknown input": refused(lambda: client.infer("ferry", [tensor("picture", np.array([photo]), "BYTES")])),
            "no image": refused(lambda: client.infer("ferry", images(b"no image"))),
            "unknown metadata": refused(lambda: client.get_model_metadata("fairy")),
            "not offered": refused(lambda: client.load_model("ferry")),
        }


def of_models(detector: str, classifier: str, photo: bytes) -> dict[str, Any]:
    with triton.InferenceServerClient(detector) as client:
        found = client.infer("detector", images(photo), parameters={"crop_size": 64})
        crops = found.as_numpy("crops")
        about = client.get_model_metadata("detector", as_json=True)
    with triton.InferenceServerClient(classifier) as client:
        judged = client.infer("efficientnet", [tensor("crops", crops, "UINT8")])
        many = client.infer("efficientnet", [tensor("crops", np.repeat(crops, 20, axis=0), "UINT8")])
        return {
            "detector": about,
            "boxes": found.as_numpy("boxes").tolist(),
            "crops": list(crops.shape),
            "probabilities": judged.as_numpy("probabilities").tolist(),
            "many": list(many.as_numpy("probabilities").shape),
            "wrong type": refused(
                lambda: client.infer("efficientnet", [tensor("crops", crops.astype(np.float32), "FP32")])
            ),
            "wrong shape": refused(lambda: client.infer("efficientnet", [tensor("crops", crops[0], "UINT8")])),
            "index": client.get_model_repository_index(as_json=True),
        }


async def in_a_loop(address: str, photo: bytes) -> dict[str, Any]:
    async with triton_aio.InferenceServerClient(address) as client:
        answers = await asyncio.gather(*(client.infer("ferry", images(photo)) for _ in range(4)))
        return {
            "ready": await client.is_model_ready("ferry"),
            "faces": [faces(answer) for answer in answers],
            "index": await client.get_model_repository_index(as_json=True),
        }


def main(gateway: str, detector: str, classifier: str, path: str) -> None:
    photo = Path(path).read_bytes()
    learnt = {
        "gateway": of_gateway(gateway, photo),
        "models": of_models(detector, classifier, photo),
        "aio": asyncio.run(in_a_loop(gateway, photo)),
    }
    print(json.dumps(learnt))


if __name__ == "__main__":
    main(*sys.argv[1:])
