"""`ferry serve`: a local cluster from the first process to Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, TypeVar

import typer
from rich.table import Column, Table

from cli.cluster import Cluster, ClusterError, ClusterSettings, Endpoint
from cli.cluster.guard import Guard
from cli.cluster.settings import DEFAULT_CLASSIFIERS, DEFAULT_DETECTOR_WEIGHT, DEFAULT_PROCESSES
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, answers, errors, print_json
from ferry.client import Client, ClusterStatus, FerryError

ModelsDirOption = Annotated[
    Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.", file_okay=False)
]
_STATUS_SECONDS = 10
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
        bool, typer.Option("--optimized", help="Allow reduced precision where `ferry tune` found it faster.")
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
    batch_size: Annotated[int | None, typer.Option(min=1, max=64, help="Most rows of one model run.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of one model run.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Runs of one model at once.")] = None,
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
            classifiers=_pairs(classifier, float, "--classifier") or DEFAULT_CLASSIFIERS,
            replicas=_pairs(replicas, int, "--replicas"),
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
    _announce(cluster, cluster_status(cluster, stop) if guard.open else None, guard, as_json=as_json)
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
        for _ in range(_STATUS_SECONDS * 10):
            try:
                latest = client.status()
            except FerryError:
                latest = None
            if (latest is not None and all(v.healthy for v in latest.variants)) or stop.wait(0.1):
                break
    return latest


def _announce(cluster: Cluster, status: ClusterStatus | None, guard: Guard, *, as_json: bool) -> None:
    models = {model.name: model for variant in (status.variants if status else ()) for model in variant.models}
    if as_json:
        record = {
            "address": cluster.address,
            "http": cluster.http,
            "endpoints": [asdict(endpoint) for endpoint in cluster.endpoints],
            "models": [asdict(model) for model in models.values()],
            "log_dir": str(cluster.log_dir),
        }
        print_json(record)
        return
    versions = {name: f"{name} {model.version}" for name, model in models.items()}
    answers.print(_table(cluster.endpoints, versions))
    answers.print(f"logs in {cluster.log_dir}", highlight=False, soft_wrap=True)
    answers.print(
        f"Ferry answers at {cluster.address}. Try: ferry predict PHOTO --address {cluster.address}{guard.ferry}",
        highlight=False,
        soft_wrap=True,
    )
    if cluster.http:
        answers.print(
            f"HTTP at {guard.scheme}://{cluster.http}/ (a page for browsers). "
            f"Try: curl{guard.curl} -F image=@PHOTO {guard.scheme}://{cluster.http}/api/predict",
            highlight=False,
            soft_wrap=True,
        )


def _table(endpoints: Sequence[Endpoint], versions: dict[str, str]) -> Table:
    # Addresses are copied from it: those that do not fit in a narrow terminal go on in the next line.
    wide = (Column(name, overflow="fold") for name in ("address", "metrics"))
    table = Table(Column("service", no_wrap=True), *wide, Column("pid", no_wrap=True), "model")
    for endpoint in endpoints:
        model = next((text for name, text in versions.items() if name in endpoint.name), "")
        metrics = f"http://{endpoint.metrics}/metrics" if endpoint.metrics else ""
        table.add_row(endpoint.name, endpoint.address, metrics, str(endpoint.pid), model)
    return table


def _pairs(texts: list[str] | None, kind: type[Number], option: str) -> dict[str, Number]:
    pairs = {}
    for text in texts or ():
        name, _, number = text.partition("=")
        try:
            pairs[name] = kind(number)
        except ValueError as error:
            raise typer.BadParameter(f"{option} {text!r}: write NAME=NUMBER, such as classifier=2") from error
    return pairs


def _say(message: str) -> None:
    errors.print(message, highlight=False, markup=False, soft_wrap=True)
