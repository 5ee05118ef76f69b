"""`ferry predict`: recognises the expressions in photos, with a cluster that runs or a temporary one."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.cluster import Cluster, ClusterSettings
from cli.connect import ApiKeyOption, Credentials, TlsCaOption, TlsCertOption, TlsKeyOption, credentials
from cli.models_dir import MODELS_DIR
from cli.output import DEFAULT_ADDRESS, AddressOption, JsonOption, errors, is_terminal, print_json
from cli.photos import given, left_out, names, photos
from cli.records import lines, record
from cli.remedy import install
from cli.serve import ModelsDirOption
from cli.tables import SUFFIXES, Writer, open_table
from ferry.client import Client, FerryError, InvalidImageError, MismatchError, Options, Recognition, UnavailableError

_TIMEOUT = 120.0
"""Seconds for each 16 photos: enough for a slow machine with --tta."""

Result = Recognition | FerryError


def predict(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Photos, or folders of photos.", parser=given),
    ],
    *,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each photo there with boxes and expressions.", file_okay=False),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Write a row for each face there too: .csv or .parquet; .jsonl: a line of JSON for each photo. "
            "May be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over several views of each face: slower, a little more accurate.")
    ] = False,
    detail: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=4,
            help="Look for faces so many times smaller: with 4, up to 17 runs of the detector a photo.",
        ),
    ] = 1,
    address: AddressOption = DEFAULT_ADDRESS,
    models_dir: ModelsDirOption = MODELS_DIR,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Recognise the expressions of all faces in photos.

    Each photo is shown as soon as it is answered; --json prints all of them at the end, in order. Without an
    --address, and where no cluster runs on this machine, a temporary one is started; for more than a few calls
    `ferry serve` in another terminal saves its start. A photo that cannot be read is reported, the others are still
    answered, and the exit code is 1.
    """
    found, others = _photos(paths)
    caller = credentials(tls_ca, tls_cert, tls_key, api_key)
    chosen = context.get_parameter_source("address")
    typed = chosen is not None and chosen.name != "DEFAULT"
    failed = 0
    records: dict[int, dict[str, Any]] = {}
    with ExitStack() as open_files:
        tables = [open_files.enter_context(_table(path)) for path in out or ()]
        pictures = _Pictures(annotate, found)
        with (
            _gateway(address, models_dir, caller, typed=typed) as reachable,
            caller.client(reachable, _TIMEOUT) as client,
        ):
            for index, answer in _recognize(client, found, Options(test_time_augmentation=tta, detail=detail)):
                result = pictures.draw(index, answer)
                failed += isinstance(result, FerryError)
                for table in tables:
                    table.write(found[index], result)
                if as_json:
                    records[index] = record(found[index], result)
                else:
                    print("\n".join(lines(found[index], result)), flush=True)
    if as_json:
        print_json([records[index] for index in sorted(records)])
    for where, what in (
        (annotate, f"{pictures.drawn} pictures"),
        *((path, "answers" if path.suffix == ".jsonl" else "a table") for path in out or ()),
    ):
        if where is not None:
            errors.print(f"{what} in {where}", markup=False, highlight=False, soft_wrap=True)
    if others:
        errors.print(left_out(others), markup=False, highlight=False, soft_wrap=True)
    if failed and len(found) > 1:
        errors.print(f"{failed} of {len(found)} photos have no answer", highlight=False)
    if failed:
        raise typer.Exit(1)


def _photos(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """As `photos`; nothing, and an address of the web, is wrong usage."""
    for path in paths:
        if path.parts[:1] in {("http:",), ("https:",)} and not path.exists():
            raise typer.BadParameter(f"{str(path).replace(':/', '://', 1)} is an address: download it first")
    if not any(path.exists() for path in paths):
        raise typer.BadParameter(f"there is no {', no '.join(map(str, paths))}")
    found, others = photos(paths)
    if not found:
        raise typer.BadParameter(f"there are no photos in {', '.join(map(str, paths))}" + left_out(others, "; "))
    return found, others


def _table(path: Path) -> Writer:
    try:
        return open_table(path)
    except ValueError as error:
        raise typer.BadParameter(f"{path} {error}", param_hint="--out") from error
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--out") from error
    except ModuleNotFoundError as error:
        others = ", ".join(suffix for suffix in SUFFIXES if suffix != path.suffix)
        message = f"{path.suffix} needs {error.name}: {install('evaluate')}; {others} need nothing"
        raise typer.BadParameter(message, param_hint="--out") from error


@contextmanager
def _gateway(address: str, models_dir: Path, caller: Credentials, *, typed: bool) -> Iterator[str]:
    """The address of a gateway that answers: `address`, or that of a temporary cluster, if nobody named an address."""
    try:
        with caller.client(address, timeout=5) as client:
            client.status()
    except MismatchError:
        raise
    except UnavailableError:
        if typed or caller.given:
            raise
    else:
        yield address
        return
    errors.print(
        f"no cluster answers at {address}; starting a temporary one (`ferry serve` keeps one running)",
        highlight=False,
        soft_wrap=True,
    )
    with ExitStack() as afterwards:
        for number in (signal.SIGTERM, signal.SIGHUP):
            afterwards.callback(signal.signal, number, signal.signal(number, _leave))
        with errors.status("starting") as spinner:
            cluster = Cluster(ClusterSettings(port=0, models_dir=models_dir, embedded_redis=False), spinner.update)
            cluster.start()
        afterwards.callback(cluster.stop)
        yield cluster.address


def _leave(number: int, frame: FrameType | None) -> None:
    """Ends the program as Ctrl-C would: what it started is stopped and removed."""
    raise SystemExit(128 + number)


def _recognize(client: Client, found: Sequence[Path], options: Options) -> Iterator[tuple[int, Result]]:
    """Results as they come, with a line of progress where somebody looks."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("photos"), TimeRemainingColumn())
    # Only what is printed to the same terminal has to go around the line of progress; what goes into a file must not.
    shared = is_terminal(sys.stdout)
    with Progress(*columns, console=errors, transient=True, redirect_stdout=shared) as progress:
        task = progress.add_task("recognising", total=len(found))
        for index, result in client.recognize_batch(found, **options):
            yield index, result
            progress.advance(task)


class _Pictures:
    """Photos with boxes, in a folder."""

    def __init__(self, folder: Path | None, found: Sequence[Path]) -> None:
        """
        Args:
            folder: None: none are drawn.
            found: the photos.

        Raises:
            typer.BadParameter: a picture would take the place of a photo.
        """
        self.drawn = 0
        self._folder = folder
        self._photos = found
        self._names = names(found, ".jpg") if folder is not None else []
        if folder is not None:
            _check_apart([folder / name for name in self._names], found)
            folder.mkdir(parents=True, exist_ok=True)

    def draw(self, index: int, result: Result) -> Result:
        """Writes the picture of an answer; returns the answer, or the error where it cannot be drawn."""
        if self._folder is None or isinstance(result, FerryError):
            return result
        from cli.annotate import annotate

        photo = self._photos[index]
        try:
            packed = io.BytesIO()
            annotate(photo, result.faces).save(packed, "JPEG", quality=92)
            # Pillow itself does not notice where a disk takes a part alone.
            (self._folder / self._names[index]).write_bytes(packed.getbuffer())
        except (OSError, ValueError) as error:
            return InvalidImageError(f"cannot draw into {photo}: {error}", field="image")
        self.drawn += 1
        return result


def _check_apart(pictures: Sequence[Path], found: Sequence[Path]) -> None:
    originals = {_file(photo) for photo in found if photo.is_file()}
    lost = next((picture for picture in pictures if picture.is_file() and _file(picture) in originals), None)
    if lost is not None:
        raise typer.BadParameter(f"{lost} is one of the photos; give a folder without them", param_hint="--annotate")


def _file(path: Path) -> tuple[int, int]:
    """Names a file, whatever leads to it."""
    status = path.stat()
    return status.st_dev, status.st_ino
