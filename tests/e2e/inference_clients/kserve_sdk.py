"""Asks a cluster with KServe's own client, as its users do: it knows nothing of Ferry.

Usage: python kserve_sdk.py GATEWAY CLASSIFIER HTTP PHOTO    prints what it learnt as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


def question(model: str, *inputs: InferInput, **fields: Any) -> InferRequest:
    return InferRequest(model_name=model, infer_inputs=list(inputs), request_id="seven", **fields)


def raw_image(photo: bytes) -> InferInput:
    given = InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([photo], np.object_), binary_data=True)
    return given


def faces(response: Any) -> dict[str, Any]:
    named = {output.name: output for output in response.outputs}
    return {
        "answer": [json.loads(text) for text in named["answer"].as_numpy()],
        "boxes": named["boxes"].as_numpy().tolist(),
        "expressions": [
            str(name if isinstance(name, str) else name.decode()) for name in named["expressions"].as_numpy()
        ],
        "probabilities": named["probabilities"].as_numpy().tolist(),
        "id": response.id,
    }


async def refused(client: InferenceGRPCClient, asked: InferRequest) -> list[str]:
    try:
        await client.infer(asked)
    except grpc.RpcError as error:
        return [str(error.code()), error.details()]
    raise AssertionError("it answered")


async def over_http(address: str, photo: bytes) -> dict[str, Any]:
    base = f"http://{address}"
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    try:
        raw = question("ferry", raw_image(photo))
        binary = question("ferry", raw_image(photo), parameters={"binary_data_output": True})
        learnt = {
            "live": await client.is_server_live(base),
            "ready": await client.is_server_ready(base),
            "model": [await client.is_model_ready(base, name) for name in ("ferry", "fairy")],
            "json": faces(await client.infer(base, raw, model_name="ferry")),
            "binary": faces(await client.infer(base, binary, model_name="ferry")),
        }
        try:
            await client.infer(base, raw, model_name="fairy")
        except httpx.HTTPStatusError as error:
            learnt["unknown model"] = [error.response.status_code, str(error)]
    finally:
        await client.close()
    return learnt


async def main(gateway: str, classifier: str, http: str, path: str) -> None:
    photo = Path(path).read_bytes()
    typed_image = InferInput("image", [1], "BYTES", data=[photo])
    async with InferenceGRPCClient(gateway) as client:
        learnt = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("ferry"),
            "raw": faces(await client.infer(question("ferry", raw_image(photo), parameters={"max_faces": 5}))),
            "typed": faces(await client.infer(question("ferry", typed_image))),
            "unknown model": await refused(client, question("fairy", typed_image)),
            "unknown parameter": await refused(client, question("ferry", typed_image, parameters={"max_face": 1})),
        }
    async with InferenceGRPCClient(classifier) as client:
        crops = np.full((2, 8, 8, 3), 128, np.uint8)
        given = InferInput("crops", list(crops.shape), "UINT8", data=crops.flatten().tolist())
        (output,) = (await client.infer(question("efficientnet", given))).outputs
        learnt["probabilities"] = output.as_numpy().tolist()
    learnt["http"] = await over_http(http, photo)
    print(json.dumps(learnt))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
