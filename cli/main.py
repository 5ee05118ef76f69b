"""The `ferry` command."""

from __future__ import annotations

import io
import json
import sys
import traceback
from typing import Annotated

import typer

import ferry
from cli import feedback, jobs, monitor, predict, serve, status, stream
from cli.cluster.errors import ClusterError
from cli.lazy import UNTOUCHED, pass_on
from cli.output import errors
from cli.remedy import remedy
from ferry.client import FerryError

_debug = False
_OWN = frozenset({"cli", "ferry", "gateway", "modelkit", "services", "serving"})

app = typer.Typer(
    name="ferry",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Facial expression recognition: photos in, faces with expressions and calibrated probabilities out.\n\n"
    "Begin with `ferry predict photo.jpg`, which needs nothing else. Start a cluster for other programs with "
    "`ferry serve`, look at it with `ferry status` and `ferry monitor`.",
)


@app.callback()
def ferry_command(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="FERRY_DEBUG", help="Show where in the program an error comes from.")
    ] = False,
) -> None:
    if debug:
        global _debug
        _debug = True


app.command()(serve.serve)
app.command()(predict.predict)
app.command()(stream.stream)
app.command()(status.status)
app.command()(monitor.monitor)
app.command()(feedback.feedback)
app.add_typer(jobs.app, name="jobs")

# What follows is passed on untouched to commands that are imported only when they are called.


@app.command(**UNTOUCHED)
def models(context: typer.Context) -> None:
    """Make, judge, publish, promote and roll back models (most need the extra `toolchain`)."""
    pass_on(context, "cli.models", "app")


@app.command(**UNTOUCHED)
def rollout(context: typer.Context) -> None:
    """Roll a canary out and back in a Kubernetes cluster."""
    pass_on(context, "cli.rollout", "app")


@app.command(**UNTOUCHED)
def doctor(context: typer.Context) -> None:
    """Look at Ferry in a Kubernetes namespace from outside in; each line is good or says what to do."""
    pass_on(context, "cli.doctor", "doctor")


@app.command(**UNTOUCHED)
def ab(context: typer.Context) -> None:
    """Compare variants, with how sure the comparison is."""
    pass_on(context, "cli.ab", "app")


@app.command(**UNTOUCHED)
def drift(context: typer.Context) -> None:
    """Compare what answers look like now with a reference window."""
    pass_on(context, "cli.drift", "app")


@app.command(**UNTOUCHED)
def tune(context: typer.Context) -> None:
    """Measure how this machine runs each model best, and keep the answer for the services."""
    pass_on(context, "cli.tune", "tune")


@app.command(**UNTOUCHED)
def bench(context: typer.Context) -> None:
    """Measure Ferry on this machine (from a checkout of the repository)."""
    pass_on(context, "benchmarks.command", "app")


@app.command(**UNTOUCHED)
def capacity(context: typer.Context) -> None:
    """How many pods, CPUs and how much Redis a load needs (from a checkout of the repository)."""
    pass_on(context, "cli.capacity", "capacity")


@app.command()
def version() -> None:
    """Print the version of Ferry."""
    print(ferry.__version__)


def main() -> None:
    """Runs the command line; whatever goes wrong ends in one line and exit code 1, or the one that the error names."""
    global _debug
    _debug = False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        app(prog_name="ferry")
    except Exception as error:
        if _debug:
            errors.print(traceback.format_exc(), style="dim", markup=False, highlight=False, end="")
        if isinstance(error, ClusterError) and error.log_tail:
            errors.print(_readable(error.log_tail), style="dim", markup=False, highlight=False, soft_wrap=True)
        errors.print(f"error: {_said(error)}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(getattr(error, "exit_code", 1))
    sys.exit(1)


def _said(error: Exception) -> str:
    if isinstance(error, FerryError) and error.code == "UNAUTHENTICATED":
        return f"{error} (FERRY_API_KEY, or --api-key)"
    if isinstance(error, ClusterError | FerryError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in _OWN:
        return f"{error}; {remedy(error.name)}"
    if isinstance(error, OSError):
        return _system(error)
    return f"unexpected {type(error).__name__}: {error}; `ferry --debug ...` shows where, for a report"


def _readable(log: str) -> str:
    """Lines of a log without what is for machines."""
    lines = []
    for line in log.splitlines():
        try:
            said = json.loads(line)
            lines.append(f"{said['service']}: {said['message']}")
        except (ValueError, TypeError, KeyError, RecursionError):
            lines.append(line)
    return "\n".join(lines)


def _system(error: OSError) -> str:
    """In the order in which people say it: which file, and what is wrong with it."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
