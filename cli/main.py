"""The `ferry` command."""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from typer.main import get_command

import ferry
from cli import monitor, predict, serve, status
from cli.cluster.errors import ClusterError
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

# What follows is passed on untouched to commands that are imported only when they are called.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


@app.command(context_settings=_PASS_ON, add_help_option=False)
def models(context: typer.Context) -> None:
    """Make, judge, publish, promote and roll back models (most need the extra `toolchain`)."""
    _pass_on(context, "cli.models", "app")


@app.command(context_settings=_PASS_ON, add_help_option=False)
def rollout(context: typer.Context) -> None:
    """Roll a canary out and back in a Kubernetes cluster."""
    _pass_on(context, "cli.rollout", "app")


@app.command(context_settings=_PASS_ON, add_help_option=False)
def tune(context: typer.Context) -> None:
    """Measure how this machine runs each model best, and keep the answer for the services."""
    _pass_on(context, "cli.tune", "tune")


@app.command(context_settings=_PASS_ON, add_help_option=False)
def bench(context: typer.Context) -> None:
    """Measure what each technique brings on this machine (from a checkout of the repository)."""
    _pass_on(context, "benchmarks.gains.command", "app")


@app.command(context_settings=_PASS_ON, add_help_option=False)
def capacity(context: typer.Context) -> None:
    """How many pods, CPUs and how much Redis a load needs (from a checkout of the repository)."""
    _pass_on(context, "cli.capacity", "capacity")


@app.command()
def version() -> None:
    """Print the version of Ferry."""
    print(ferry.__version__)


def _pass_on(context: typer.Context, module: str, name: str) -> None:
    program = f"ferry {context.info_name}"
    try:
        target = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"`{program}` needs {error.name}", name=error.name) from error
    if not isinstance(target, typer.Typer):
        function, target = (
            target,
            typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"),
        )
        target.command()(function)
    get_command(target).main(args=context.args, prog_name=program, help_option_names=context.help_option_names)


def main() -> None:
    """Runs the command line; whatever is expected to go wrong ends in one line and exit code 1."""
    try:
        app()
    except ClusterError as error:
        if error.log_tail:
            errors.print(error.log_tail, style="dim", markup=False, highlight=False)
        message = str(error)
    except FerryError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] in {"cli", "ferry", "gateway", "modelkit", "services", "serving"}:
            raise
        message = f"{error}; install it with `pip install 'ferry[toolchain]'`"
    except OSError as error:
        message = str(error)
    errors.print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
