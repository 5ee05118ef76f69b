"""Who is measured: each peer with what its documentation recommends, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that people would pick.

    Attributes:
        name: as tables show it.
        environment: name of its environment under the work folder; empty: Ferry's own.
        requirements: for pip, beside the kernels'.
        module: in `benchmarks.peers.servers`, started with PORT and WORKERS.
        door: how it is asked: a name of `benchmarks.peers.doors`.
        processes: whether a worker is a process of its own, with kernels of its own; otherwise workers share them.
    """

    name: str
    environment: str
    requirements: tuple[str, ...]
    module: str
    door: str
    processes: bool = True


PEERS = (
    Peer("mosec", "mosec", ("mosec",), "mosec_server", "mosec"),
    Peer("LitServe", "litserve", ("litserve",), "litserve_server", "litserve"),
    Peer("BentoML", "bentoml", ("bentoml",), "bentoml_service", "bentoml"),
    Peer("Ray Serve", "ray", ("ray[serve]",), "ray_server", "ray"),
    Peer("PyTriton", "pytriton", ("nvidia-pytriton",), "pytriton_server", "triton"),
    Peer("grpc.aio + pool", "", (), "grpc_pool", "grpc", processes=False),
    Peer("FastAPI", "fastapi", ("fastapi", "uvicorn[standard]", "redis"), "fastapi_server", "fastapi"),
)


@dataclass(frozen=True, slots=True)
class Way:
    """How many workers with how many threads each; both, and `batch`, 1 or more."""

    workers: int
    threads: int
    batch: int = 1

    @property
    def name(self) -> str:
        """Such as `2x1`, and `2x1 b8` where a batch is more than an image."""
        return f"{self.workers}x{self.threads}" + (f" b{self.batch}" if self.batch > 1 else "")


def ways(cpus: int) -> tuple[Way, ...]:
    """What is tried of each server: one worker with every CPU, and a worker for each CPU."""
    return (Way(1, cpus), Way(cpus, 1)) if cpus > 1 else (Way(1, 1),)


def bare_ways(cpus: int) -> tuple[Way, ...]:
    """The same without a server, and in batches of eight."""
    return (*ways(cpus), Way(cpus, 1, 8))
