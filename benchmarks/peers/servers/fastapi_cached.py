"""FastAPI with answers kept in Redis under the digest of the image, the naive way. `python -m ... PORT REDIS_URL`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

from benchmarks.peers.kernels import Kernels, Plan

REDIS = "FERRY_PEERS_REDIS"
state: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Loads before the first request."""
    state["kernels"] = Kernels(Plan.from_environment())
    state["redis"] = Redis.from_url(os.environ[REDIS])
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/recognize")
async def recognize(request: Request) -> Response:
    """Looks the answer up, and computes and keeps it where there is none."""
    body = await request.body()
    key = hashlib.sha256(body).digest()
    answer = await state["redis"].get(key)
    if answer is None:
        answer = json.dumps(state["kernels"].answer([body])[0]).encode()
        await state["redis"].set(key, answer, ex=3600)
    return Response(answer, media_type="application/json")


if __name__ == "__main__":
    os.environ[REDIS] = sys.argv[2]
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
