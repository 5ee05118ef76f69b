"""The one entrance: every benchmark by its name, imported only when it is called."""

from __future__ import annotations

import typer

from cli.lazy import UNTOUCHED, pass_on

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure Ferry on this machine. Stop other work first.",
)


@app.command(**UNTOUCHED)
def speed(context: typer.Context) -> None:
    """Cold start, memory, cached answers, whole ways and tracing, against what they are to be compared with."""
    pass_on(context, "benchmarks.speed.command", "speed")


@app.command(**UNTOUCHED)
def peers(context: typer.Context) -> None:
    """Ferry beside mosec, LitServe, BentoML, Ray Serve, PyTriton, grpc.aio, FastAPI and no server at all."""
    pass_on(context, "benchmarks.peers.command", "peers")


@app.command(**UNTOUCHED)
def load(context: typer.Context) -> None:
    """An open loop of requests on a running gateway, and the rate that it bears."""
    pass_on(context, "benchmarks.load.command", "load")


@app.command(**UNTOUCHED)
def chaos(context: typer.Context) -> None:
    """Faults on a real cluster under load, each with a verdict."""
    pass_on(context, "benchmarks.chaos.command", "chaos")


@app.command(**UNTOUCHED)
def counting(context: typer.Context) -> None:
    """Calls and memory of one image in each service, counted, beside what is expected."""
    pass_on(context, "benchmarks.counting.command", "counting")


@app.command(**UNTOUCHED)
def scaling(context: typer.Context) -> None:
    """Throughput, latency and CPU while faces, sizes, callers or replicas grow."""
    pass_on(context, "benchmarks.scaling.command", "scaling")


@app.command(**UNTOUCHED)
def where(context: typer.Context) -> None:
    """Where the time and the CPU of one request go."""
    pass_on(context, "benchmarks.where.command", "where")


@app.command(**UNTOUCHED)
def soak(context: typer.Context) -> None:
    """Whether memory or latency grows in half an hour of mixed load."""
    pass_on(context, "benchmarks.soak.command", "soak")


@app.command(**UNTOUCHED)
def cancelled(context: typer.Context) -> None:
    """What a call that its caller gives up leaves in memory, gRPC's part and Ferry's."""
    pass_on(context, "benchmarks.cancelled.command", "cancelled")


@app.command(**UNTOUCHED)
def choices(context: typer.Context) -> None:
    """What one classifier, the vote and several views cost."""
    pass_on(context, "benchmarks.choices.command", "choices_command")


@app.command(**UNTOUCHED)
def gains(context: typer.Context) -> None:
    """What each technique brings and costs."""
    pass_on(context, "benchmarks.gains.command", "gains")


@app.command(**UNTOUCHED)
def gpu(context: typer.Context) -> None:
    """Models, and the whole cluster, on an NVIDIA GPU against this machine's CPU."""
    pass_on(context, "benchmarks.gpu.command", "app")


@app.command(**UNTOUCHED)
def autoscaling(context: typer.Context) -> None:
    """The autoscalers of the manifests against a queueing model of the services."""
    pass_on(context, "benchmarks.autoscaling.command", "autoscaling")


@app.command(**UNTOUCHED)
def experiments(context: typer.Context) -> None:
    """Whether the verdicts of `ferry ab` are right as often as they say, by made-up experiments."""
    pass_on(context, "benchmarks.experiments.command", "experiments")


@app.command(**UNTOUCHED)
def decoding(context: typer.Context) -> None:
    """The memory that decoding takes, by format, mode and orientation."""
    pass_on(context, "benchmarks.decoding.command", "decoding")


@app.command(**UNTOUCHED)
def recording(context: typer.Context) -> None:
    """What keeping exposures costs cached answers, and taking labels computed ones."""
    pass_on(context, "benchmarks.recording.command", "recording")


@app.command(**UNTOUCHED)
def detector(context: typer.Context) -> None:
    """What an image costs in the detector, step by step, against a bare run of its model."""
    pass_on(context, "benchmarks.detector.command", "detector")
