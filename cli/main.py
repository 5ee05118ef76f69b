"""The `ferry` command."""

from __future__ import annotations

import sys

import typer

import ferry
from cli import feedback, monitor, predict, serve, status
from cli.cluster.errors import ClusterError
from cli.lazy import UNTOUCHED, pass_on
from cli.output import errors
from ferry.client import FerryError

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
app.command()(serve.serve)
app.command()(predict.predict)
app.command()(status.status)
app.command()(monitor.monitor)
app.command()(feedback.feedback)

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
    """Runs the command line; whatever is expected to go wrong ends in one line and exit code 1."""
    try:
        app(prog_name="ferry")
    except ClusterError as error:
        if error.log_tail:
            errors.print(error.log_tail, style="dim", markup=False, highlight=False)
        message = str(error)
    except FerryError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] in {"cli", "ferry", "gateway", "modelkit", "services", "serving"}:
            raise
        message = f"{error}; {_remedy(error.name)}"
    except OSError as error:
        message = str(error)
    errors.print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


def _remedy(module: str) -> str:
    if module.split(".", maxsplit=1)[0] in {"benchmarks", "deploy"}:
        return "run it in a checkout of Ferry's repository"
    return "install it with `pip install 'ferry[toolchain]'`"
