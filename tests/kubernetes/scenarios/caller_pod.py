"""Runs in a pod with the gateway's image: calls Ferry as its users do, and prints one line of JSON for each call.

A call bypasses the cache, unless told otherwise. SIGTERM ends it; what is in flight is waited for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import time
from pathlib import Path

from ferry.client import AsyncClient, FerryError, Recognition, Tls


async def later(client: AsyncClient, image: bytes) -> Recognition:
    """The answer of a job.

    Raises:
        FerryError: there is none within the client's time.
    """
    job_id = await client.submit_job(image, bypass_cache=True)
    end = time.monotonic() + client.timeout
    while not (job := await client.job(job_id)).finished:
        if time.monotonic() > end:
            raise FerryError(f"job {job_id} is {job.state}", code="DEADLINE_EXCEEDED")
        await asyncio.sleep(0.2)
    if job.result is None:
        raise FerryError(job.error or job.state, code=job.code)
    return job.result


async def one(client: AsyncClient, image: bytes, number: int, options: argparse.Namespace) -> dict[str, object]:
    """What came of one call: when it began (seconds since 1970), how long it took, and its answer or error."""
    began, clock = time.time(), time.monotonic()
    line: dict[str, object] = {"began": began, "caller": number, "code": "OK", "error": ""}
    try:
        if options.jobs:
            answer = await later(client, image)
        else:
            answer = await client.recognize(image, bypass_cache=not options.caching)
    except FerryError as error:
        line |= {"code": error.code, "error": str(error)}
    else:
        line |= {
            "faces": len(answer.faces),
            "degraded": answer.degraded,
            "variant": answer.variant,
            "models": sorted({f"{model.name}:{model.version}" for model in answer.models}),
        }
    return line | {"seconds": time.monotonic() - clock}


async def call(options: argparse.Namespace, image: bytes, number: int, stop: asyncio.Event) -> None:
    """One caller with a connection of its own, and a key of its own."""
    metadata = [("x-ferry-key", f"caller-{number}")] if options.keys else []
    metadata += [tuple(pair.split("=", 1)) for pair in options.metadata]
    folder = options.tls
    tls = None if folder is None else Tls(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
    async with AsyncClient(options.address, timeout=options.timeout, metadata=metadata, tls=tls) as client:
        made = 0
        while not stop.is_set() and (not options.calls or made < options.calls):
            print(json.dumps(await one(client, image, number, options)), flush=True)
            made += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), options.pause)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--image", required=True, type=Path)
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--calls", type=int, default=0, help="of each caller; 0: until SIGTERM")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between a caller's calls")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for a call")
    parser.add_argument("--keys", action="store_true", help="each caller sends a key of its own")
    parser.add_argument("--caching", action="store_true", help="answers may come from the cache, and go there")
    parser.add_argument("--jobs", action="store_true", help="submit jobs and ask for them until they have ended")
    parser.add_argument("--tls", type=Path, help="folder with ca.crt, tls.crt, tls.key")
    parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    image = await asyncio.to_thread(options.image.read_bytes)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.gather(*(call(options, image, number, stop) for number in range(options.callers)))


if __name__ == "__main__":
    asyncio.run(main())
