"""Options, figures and error handling that the `ferry models` commands share."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli.remedy import install

if TYPE_CHECKING:
    from modelkit.releases.classifier import Run

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
WORK_DIR = Path("~/.cache/ferry/training")
DETECTOR = "detector"
SERVED = {DETECTOR, "efficientnet", "arcface"}
"""What the default recipe asks."""
_NEXT = {
    "classify": "ferry serve --classifier {}=WEIGHT, beside the others that shall vote",
    "detect": "import it as detector, or name {} in a recipe (services/ensembler/recipe.toml)",
}
"""By task: what makes Ferry ask a model of another name."""

NameArgument = Annotated[str, typer.Argument(help="arcface, efficientnet, iresnet or detector.")]
DataOption = Annotated[Path, typer.Option("--data", help="Folder with the Parquet data; docs/models.md describes it.")]
WorkOption = Annotated[Path, typer.Option("--work-dir", help="Checkpoints, exports and caches.")]
ModelsOption = Annotated[Path, typer.Option("--models-dir", envvar="FERRY_MODELS_DIR", help="The model repository.")]
InitOption = Annotated[
    Path | None,
    typer.Option(
        "--init",
        help="Weights to start from: safetensors, a published model.onnx, an EfficientNet-Lite's .pth, a face "
        "MobileNet's .json; detector also: .pt.",
    ),
]
EpochsOption = Annotated[int | None, typer.Option(metavar="N", min=1, help="Instead of the recipe's.")]
RateOption = Annotated[float | None, typer.Option(metavar="X", min=0, help="Peak, instead of the recipe's.")]
SeedOption = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
RefineOption = Annotated[
    bool,
    typer.Option(
        "--refine",
        help="Classifiers: go on from the version that is served by the recipe's refinement; unless --teacher names "
        "others, every published classifier softens the labels.",
    ),
]
BaseOption = Annotated[
    str, typer.Option("--from", help="With --refine: the version to go on from; a number, stable or latest.")
]
ThreadsOption = Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads.")]


def classifier_run(
    name: str,
    data: Path,
    work_dir: Path,
    models_dir: Path,
    *,
    refine: bool,
    base: str = "stable",
    init: Path | None = None,
    **changes: Any,
) -> Run:
    """The training run of a classifier that these settings name."""
    from modelkit.releases.classifier import find_run
    from serving.repository.repository import ModelRepository

    if not refine:
        return find_run(name, data, work_dir, initial=init, **changes)
    if init is not None:
        fail("--refine starts from a published version, --init from a file: give one of them")
    return find_run(name, data, work_dir, refined=ModelRepository(models_dir).open(name, base), **changes)


@contextmanager
def explained(extra: str = "toolchain") -> Iterator[None]:
    """Turns what the user can mend into one line and exit status 1; `extra` of Ferry holds what the command needs."""
    try:
        yield
    except (typer.Exit, typer.Abort):  # they are RuntimeErrors, and have said what there is to say
        raise
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; this command needs: {install(extra)}")
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            where = error.filename or f"the work folder, the model repository, or {tempfile.gettempdir()} (TMPDIR)"
            fail(f"no room on the disk ({error.strerror}): make some in {where}; nothing was published")
        fail(str(error.args[0]) if isinstance(error, KeyError) else str(error))
    except Exception as error:
        from serving.errors import NotFoundError
        from serving.models.backends import ModelLoadError
        from serving.repository.repository import InvalidModelError

        if not isinstance(error, NotFoundError | InvalidModelError | ModelLoadError):
            raise
        fail(str(error))


def say_next(models_dir: Path, name: str, version: str) -> None:
    """Whether a version that has just been published is served, and how it comes to be."""
    from serving.repository.repository import ModelRepository

    repository = ModelRepository(models_dir)
    stable = repository.stable(name)
    if stable != version:
        typer.echo(f"a candidate: {stable} is still served; next: ferry models promote {name} {version}")
    elif name in SERVED:
        typer.echo(f"it is the first version of {name}, so services serve it")
    else:
        task = repository.open(name, version).manifest.task.value
        typer.echo(f"it is the first version of {name}; for services to ask it: {_NEXT[task].format(name)}")


def shown(figure: float | None) -> str:
    """With three decimals; a dash where there is none."""
    return "–" if figure is None else f"{figure:.3f}"


def change(before: float | None, after: float | None) -> str:
    """With its sign; empty where one of the two is not there."""
    return "" if before is None or after is None else f"{after - before:+.3f}"


def fail(message: str) -> NoReturn:
    """Says what is wrong on stderr and ends with exit status 1."""
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)
