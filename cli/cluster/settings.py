"""What a local cluster consists of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from gateway.redis_url import redis_url
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe

_RECIPE = read_recipe(DEFAULT_RECIPE)
DEFAULT_CLASSIFIERS: Mapping[str, float] = MappingProxyType({item.name: item.weight for item in _RECIPE.classifiers})
DEFAULT_DETECTOR_WEIGHT = _RECIPE.detector_weight
MAX_REPLICAS = 32
DEFAULT_PROCESSES = 1
"""Of `ferry serve`."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Frozen; checked when it is made.

    Attributes:
        host: address on which the gateway listens; everything else listens on 127.0.0.1.
        port: the gateway's port; the others follow. 0: free ports for all, metrics included.
        metrics_port: the gateway's metrics port; the others follow. 0: free ports.
        http_port: the gateway's HTTP port; 0, or with port 0: a free one; None: no HTTP.
        models_dir: the model repository.
        detector: name of the detector model.
        detector_weight: the detector's weight in the vote; 0: its opinion counts only where no other model answers.
        classifiers: weight in the vote by name of the model; one service each.
        ask_below: by name of a classifier after the first, the confidence below which the models before it leave a face
            to it, in (0, 1]; the others are asked about every face.
        vote: `soft` or `hard`.
        replicas: processes by service: `ensembler`, `detector`, `classifier` (all of them) or one model's name.
        optimized: allow reduced precision where tuning found it faster, and first looks at a smaller copy.
        device: `auto`, `cpu` or `cuda`: where models run; None: the services' own default.
        engine_cache: folder of TensorRT's engines; None: the services' own default.
        cache: whether answers are cached.
        redis_url: a Redis for the cache; None: an embedded Valkey, unless `embedded_redis` is False.
        embedded_redis: False: without a `redis_url` the cache lives in the gateway's memory only.
        jobs: whether images are taken that are recognised later.
        jobs_redis_url: a Redis for them alone; None: an embedded Valkey.
        jobs_key: file of the key that encrypts them; None: one for the time of this cluster.
        batch_size: rows of one model run; None: the services' own default.
        threads: threads of one model run; None: the services' own default.
        runs: runs of one model at once; None: the services' own default.
        processes: 0: every service is a process of its own; N: N processes that each hold all services and share the
            gateway's port.
        log_dir: where each process's log goes; None: a temporary folder, removed after a clean end.
        log_level: debug, info, warning or error.
        startup_timeout: seconds until everything must be SERVING.
        grace: seconds in-flight calls have to finish when the cluster stops.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    metrics_port: int = 9090
    http_port: int | None = None
    models_dir: Path = Path("models")
    detector: str = "detector"
    detector_weight: float = DEFAULT_DETECTOR_WEIGHT
    classifiers: Mapping[str, float] = field(default_factory=lambda: DEFAULT_CLASSIFIERS)
    ask_below: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    vote: str = "soft"
    replicas: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    optimized: bool = False
    device: str | None = None
    engine_cache: Path | None = None
    cache: bool = True
    redis_url: str | None = None
    embedded_redis: bool = True
    jobs: bool = False
    jobs_redis_url: str | None = None
    jobs_key: Path | None = None
    batch_size: int | None = None
    threads: int | None = None
    runs: int | None = None
    processes: int = 0
    log_dir: Path | None = None
    log_level: str = "info"
    startup_timeout: float = 120.0
    grace: float = 20.0

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a value that makes no cluster; says which and what is allowed.
        """
        if not self.classifiers:
            raise ValueError("a cluster needs a classifier")
        if self.vote not in {"soft", "hard"}:
            raise ValueError(f"vote is soft or hard, not {self.vote!r}")
        self._check_redis()
        weights = {self.detector: self.detector_weight, **self.classifiers}
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of {name} must be 0 or more, not {weight:g}")
        if not sum(weights.values()):
            raise ValueError("all weights are 0; give at least one model a weight above 0")
        self._check_cascade()
        if not 0 <= self.processes <= MAX_REPLICAS:
            raise ValueError(f"--processes: 0 to {MAX_REPLICAS}, not {self.processes}")
        if self.processes and self.replicas:
            raise ValueError("replicas are of services that are processes of their own; that needs --processes 0")
        known = {"ensembler", "detector", "classifier", *self.classifiers}
        for service, count in self.replicas.items():
            if service not in known:
                raise ValueError(f"there are no replicas of {service!r}; choose from {', '.join(sorted(known))}")
            if not 1 <= count <= MAX_REPLICAS:
                raise ValueError(f"replicas of {service}: 1 to {MAX_REPLICAS}, not {count}")

    def _check_cascade(self) -> None:
        for name, threshold in self.ask_below.items():
            if name not in list(self.classifiers)[1:]:
                raise ValueError(f"ask_below is of a classifier after the first; {name!r} is none")
            if not 0 < threshold <= 1:
                raise ValueError(f"ask_below of {name} must be above 0 and at most 1, not {threshold:g}")

    def _check_redis(self) -> None:
        for name, url in (("--redis-url", self.redis_url), ("--jobs-redis-url", self.jobs_redis_url)):
            if url is None:
                continue
            try:
                redis_url(url)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from error
        if self.jobs and self.jobs_redis_url is not None and self.jobs_key is None:
            raise ValueError("--jobs-redis-url needs --jobs-key: jobs that outlive this cluster need a key that does")

    def replicas_of(self, service: str, *, classifier: bool = False) -> int:
        """How many processes of `service`; for a classifier, its own number comes before that of all classifiers."""
        return self.replicas.get(service, self.replicas.get("classifier", 1) if classifier else 1)
