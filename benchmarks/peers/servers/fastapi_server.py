"""FastAPI under uvicorn, one process a worker, the models in the thread pool. `python -m ... PORT WORKERS`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from benchmarks.peers.kernels import Kernels, Plan

models: list[Kernels] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Loads before the first request."""
    models.append(Kernels(Plan.from_environment()))
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/recognize")
async def recognize(request: Request) -> Any:
    """Raw bytes in, JSON out."""
    return (await run_in_threadpool(models[0].answer, [await request.body()]))[0]


if __name__ == "__main__":
    name = "benchmarks.peers.servers.fastapi_server:app"
    uvicorn.run(name, host="127.0.0.1", port=int(sys.argv[1]), workers=int(sys.argv[2]), log_level="warning")
