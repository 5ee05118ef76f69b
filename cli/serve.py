"""`ferry serve`: a local cluster from the first process to Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, TypeVar

import typer

from cli.announce import announce
from cli.cluster import Cluster, ClusterError, ClusterSettings
from cli.cluster.guard import Guard
from cli.cluster.settings import DEFAULT_CLASSIFIERS, DEFAULT_DETECTOR_WEIGHT, DEFAULT_PROCESSES
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, errors
from ferry.client import Client, ClusterStatus, FerryError

ModelsDirOption = Annotated[
    Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.", file_okay=False)
]
_STATUS_SECONDS = 10
_SILENT_LOOKS = 10
"""Of those, ten a second, after which it is said what is waited for."""
Number = TypeVar("Number", int, float)


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address on which the gateway listens; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's port; the others follow. 0: free ports for all.")
    ] = 50051,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's Prometheus port; the others follow. 0: free ports.")
    ] = 9090,
    http: Annotated[bool, typer.Option("--http/--no-http", help="HTTP, and a page for browsers.")] = True,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's HTTP port. 0: a free one, as with --port 0.")
    ] = 8080,
    optimized: Annotated[
        bool,
        typer.Option(
            "--optimized",
            help="Allow reduced precision where `ferry tune` found it faster, and a first look at a smaller copy.",
        ),
    ] = False,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        typer.Option(envvar="FERRY_DEVICE", help="Where models run; auto: a GPU where there is one and it is faster."),
    ] = None,
    engine_cache: Annotated[
        Path | None, typer.Option(envvar="FERRY_ENGINE_CACHE", help="Folder of TensorRT's engines.", file_okay=False)
    ] = None,
    cache_enabled: Annotated[
        bool, typer.Option("--cache-enabled/--no-cache", help="Keep answers for identical images and options.")
    ] = True,
    redis_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A Redis for the cache, instead of the embedded Valkey.")
    ] = None,
    jobs: Annotated[bool, typer.Option("--jobs/--no-jobs", help="Take images that are recognised later.")] = True,
    jobs_redis_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A Redis for jobs alone (noeviction), instead of a second embedded Valkey."),
    ] = None,
    jobs_key: Annotated[
        Path | None,
        typer.Option(
            envvar="FERRY_JOBS_KEY",
            metavar="FILE",
            help="Key that encrypts jobs; needed with --jobs-redis-url, so that they outlive this cluster.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=64, show_default="16; detector: 4", help="Most rows of one model run."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, show_default="as measured", help="CPU threads of one model run.")
    ] = None,
    runs: Annotated[
        int | None, typer.Option(metavar="N", min=1, show_default="as measured", help="Runs of one model at once.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=32,
            help="1: all services in one process; N: N such processes behind the gateway's port; 0: a process for each "
            "service, as on Kubernetes, which --replicas asks for too.",
            show_default=str(DEFAULT_PROCESSES),
        ),
    ] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE=N",
            help="Processes of a service: ensembler, detector, classifier (all of them) or one classifier's name. "
            "May be repeated.",
        ),
    ] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=WEIGHT",
            help="A classifier and its weight in the vote, in the place of the recipe's efficientnet and arcface. "
            "May be repeated.",
        ),
    ] = None,
    detector_weight: Annotated[
        float,
        typer.Option(min=0, help="The detector's weight in the vote; 0: it counts only where no classifier answers."),
    ] = DEFAULT_DETECTOR_WEIGHT,
    models_dir: ModelsDirOption = MODELS_DIR,
    log_dir: Annotated[
        Path | None, typer.Option(help="Where the logs go; by default a temporary folder.", file_okay=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a cluster on this machine and keep it running until Ctrl-C.

    Gateway, ensembler, detector and one service for each classifier run in one process, or in one each, with an
    embedded Valkey as the Redis of the result cache and one for jobs. What dies is started again. Ctrl-C lets every
    call finish; a second one does not.
    """
    _tell_misspelt()
    if processes is None:
        processes = 0 if replicas else DEFAULT_PROCESSES
    try:
        settings = ClusterSettings(
            host=host,
            port=port,
            metrics_port=metrics_port,
            http_port=http_port if http else None,
            models_dir=models_dir,
            detector_weight=detector_weight,
            classifiers=_pairs(classifier, float, "--classifier", "MODEL=WEIGHT, such as arcface=0.85")
            or DEFAULT_CLASSIFIERS,
            replicas=_pairs(replicas, int, "--replicas", "SERVICE=N, such as classifier=2"),
            optimized=optimized,
            device=device,
            engine_cache=engine_cache,
            cache=cache_enabled,
            redis_url=redis_url,
            jobs=jobs,
            jobs_redis_url=jobs_redis_url,
            jobs_key=jobs_key,
            batch_size=batch_size,
            threads=threads,
            runs=runs,
            processes=processes,
            log_dir=log_dir,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(_run(Cluster(settings, _say), as_json))


def _tell_misspelt() -> None:
    # Here and not above: `ferry` starts sooner without them.
    from cli.settings import SERVICES
    from serving.settings import misspelt

    for line in misspelt(SERVICES.values()):
        _say(line)


def _run(cluster: Cluster, as_json: bool) -> int:
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            cluster.kill()
        stop.set()
        cluster.request_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        cluster.start()
    except ClusterError as error:
        if stop.is_set():
            cluster.stop()
            return 0
        logs = f"; the logs are in {cluster.log_dir}" if cluster.endpoints else ""
        raise ClusterError(f"{error}{logs}", error.log_tail) from error
    guard = Guard.of_environment()
    # Who asks callers for something does not tell what it is asked without that.
    announce(cluster, cluster_status(cluster, stop) if guard.open else None, guard, as_json=as_json)
    while not stop.wait(1.0):
        if not cluster.running:
            raise ClusterError(f"the supervisor has failed; the logs are in {cluster.log_dir}")
    _say("draining; press Ctrl-C again to stop at once")
    clean = cluster.stop()
    _say("stopped" if clean else f"stopped, but not everything had finished; the logs are in {cluster.log_dir}")
    return 0 if clean else 1


def cluster_status(cluster: Cluster, stop: threading.Event) -> ClusterStatus | None:
    """What the gateway says of its models, as soon as it knows them; None when it does not within ten seconds."""
    latest = None
    with Client(cluster.address, timeout=2) as client:
        for look in range(_STATUS_SECONDS * 10):
            try:
                latest = client.status()
            except FerryError:
                latest = None
            away = [v.name for v in latest.variants if not v.healthy] if latest is not None else []
            if (latest is not None and not away) or stop.wait(0.1):
                break
            if away and look == _SILENT_LOOKS:
                _say(f"waiting for {', '.join(away)} of the routing file to answer")
    return latest


def _pairs(texts: list[str] | None, kind: type[Number], option: str, form: str) -> dict[str, Number]:
    pairs = {}
    for text in texts or ():
        name, _, number = text.partition("=")
        try:
            pairs[name] = kind(number)
        except ValueError as error:
            raise typer.BadParameter(f"{option} {text!r}: write {form}") from error
    return pairs


def _say(message: str) -> None:
    errors.print(message, highlight=False, markup=False, soft_wrap=True)
