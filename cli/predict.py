"""`ferry predict`: recognises the expressions in photos, with a cluster that runs or a temporary one."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from cli.cluster import Cluster, ClusterSettings
from cli.connect import ApiKeyOption, Credentials, TlsCaOption, TlsCertOption, TlsKeyOption, credentials
from cli.models_dir import MODELS_DIR
from cli.output import DEFAULT_ADDRESS, AddressOption, JsonOption, answers, errors, print_json
from cli.serve import ModelsDirOption
from ferry.client import (
    Client,
    Face,
    FerryError,
    InvalidImageError,
    ModelOpinion,
    Options,
    Recognition,
    UnavailableError,
)

_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif"),
)
_NAMED = 10
"""Most files that are listed as no photos; the others are counted."""
_TIMEOUT = 120.0
"""Seconds for each 16 photos: enough for a slow machine with --tta."""

Result = Recognition | FerryError


def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Photos, or folders of photos.")],
    *,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each photo there with boxes and expressions.", file_okay=False),
    ] = None,
    as_json: JsonOption = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over several views of each face: slower, a little more accurate.")
    ] = False,
    detail: Annotated[
        int,
        typer.Option(
            min=1, max=4, help="Look for faces so many times smaller: with 4, up to 17 runs of the detector a photo."
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

    Uses the cluster at the address. Where none runs on this machine, starts a temporary one and says so; for more
    than a few calls `ferry serve` in another terminal saves its start. A photo that cannot be read is reported, the
    others are still answered, and the exit code is 1.
    """
    if not any(path.exists() for path in paths):
        raise typer.BadParameter(f"there is no {', no '.join(map(str, paths))}")
    photos, others = _photos(paths)
    if not photos:
        raise typer.BadParameter(f"there are no photos in {', '.join(map(str, paths))}" + _left_out(others, "; "))
    caller = credentials(tls_ca, tls_cert, tls_key, api_key)
    with _gateway(address, models_dir, caller) as reachable, caller.client(reachable, _TIMEOUT) as client:
        results = _recognize(client, photos, Options(test_time_augmentation=tta, detail=detail))
    pictures = {} if annotate is None else _annotate(photos, results, annotate)
    if as_json:
        print_json([_record(photo, result) for photo, result in zip(photos, results, strict=True)])
    else:
        answers.print(_table(photos, results))
        if pictures:
            answers.print(f"{len(pictures)} pictures in {annotate}", highlight=False)
    if others:
        errors.print(escape(_left_out(others)), highlight=False, soft_wrap=True)
    if any(isinstance(result, FerryError) for result in results):
        raise typer.Exit(1)


def _photos(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The photos, in order, and the files of folders that are none by their names."""
    photos: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if not path.is_dir():
            photos.append(path)
            continue
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            (photos if file.suffix.lower() in _SUFFIXES else others).append(file)
    return photos, others


def _left_out(others: Sequence[Path], before: str = "") -> str:
    """A line that names the files that are no photos; empty where there are none."""
    if not others:
        return ""
    names = ", ".join(map(str, others[:_NAMED]))
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    count = "1 file is" if len(others) == 1 else f"{len(others)} files are"
    return f"{before}{count} left out, by name no photos: {names}{more}"


@contextmanager
def _gateway(address: str, models_dir: Path, caller: Credentials) -> Iterator[str]:
    """The address of a gateway that answers: `address`, or that of a temporary cluster."""
    try:
        with caller.client(address, timeout=5) as client:
            client.status()
    except UnavailableError:
        if caller.given or address.rpartition(":")[0] not in {"localhost", "127.0.0.1", "[::1]"}:
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


def _recognize(client: Client, photos: Sequence[Path], options: Options) -> list[Result]:
    found: dict[int, Result] = {}
    batch = client.recognize_batch(photos, **options)
    for index, result in track(batch, "recognising", total=len(photos), console=errors, transient=True):
        found[index] = result
    return [found[index] for index in range(len(photos))]


def _annotate(photos: Sequence[Path], results: list[Result], folder: Path) -> dict[Path, Path]:
    """Writes `<name>.jpg` for each photo with an answer; a picture that cannot be drawn becomes an error."""
    from cli.annotate import annotate

    folder.mkdir(parents=True, exist_ok=True)
    written: dict[Path, Path] = {}
    taken: set[str] = set()
    for index, (photo, result) in enumerate(zip(photos, results, strict=True)):
        if isinstance(result, FerryError):
            continue
        name, number = photo.stem, 1
        while name in taken:
            number += 1
            name = f"{photo.stem}-{number}"
        taken.add(name)
        try:
            target = folder / f"{name}.jpg"
            annotate(photo, result.faces).save(target, quality=92)
            written[photo] = target
        except (OSError, ValueError) as error:
            results[index] = InvalidImageError(f"cannot draw into {photo}: {error}", field="image")
    return written


def _record(photo: Path, result: Result) -> dict[str, Any]:
    if isinstance(result, FerryError):
        return {"path": str(photo), "error": str(result), "code": result.code}
    return {
        "path": str(photo),
        "faces": [_face_record(face) for face in result.faces],
        "image_size": [result.image_size.width, result.image_size.height],
        "timings_ms": {name.removesuffix("_ms"): value for name, value in asdict(result.timings).items()},
        "cached": result.cached,
        "degraded": result.degraded,
        "variant": result.variant,
        "request_id": result.request_id,
    }


def _face_record(face: Face) -> dict[str, Any]:
    return {
        "box": list(face.box.xyxy),
        "score": face.score,
        "expression": face.expression,
        "confidence": face.confidence,
        "probabilities": dict(face.probabilities),
        "models": [_opinion_record(opinion) for opinion in face.models],
        "degraded": face.degraded,
        "missing_models": list(face.missing_models),
    }


def _opinion_record(opinion: ModelOpinion) -> dict[str, Any]:
    return {
        "name": opinion.model.name,
        "version": opinion.model.version,
        "digest": opinion.model.digest,
        "expression": opinion.expression,
        "confidence": opinion.confidence,
        "probabilities": dict(opinion.probabilities),
        "weight": opinion.weight,
    }


def _table(photos: Sequence[Path], results: Sequence[Result]) -> Table:
    answered = [result for result in results if isinstance(result, Recognition)]
    models = list(dict.fromkeys(_name(o) for result in answered for face in result.faces for o in face.models))
    table = Table("photo", "face", "expression", *models, "ms", box=box.SIMPLE_HEAD)
    for photo, result in zip(photos, results, strict=True):
        name = escape(str(photo))
        if isinstance(result, FerryError):
            table.add_row(name, "[red]error", escape(str(result)))
            continue
        took = f"{result.timings.total_ms:.0f}" + (" (cached)" if result.cached else "")
        if not result.faces:
            table.add_row(name, "no face", *[""] * (len(models) + 1), took)
        for index, face in enumerate(result.faces):
            said = {_name(opinion): f"{opinion.expression} {opinion.confidence:.2f}" for opinion in face.models}
            table.add_row(
                name if index == 0 else "",
                ", ".join(f"{edge:.0f}" for edge in face.box.xyxy),
                f"[bold]{face.expression} {face.confidence:.2f}" + (" (degraded)" if face.degraded else ""),
                *(said.get(model, "-") for model in models),
                took if index == 0 else "",
            )
    return table


def _name(opinion: ModelOpinion) -> str:
    return f"{opinion.model.name} {opinion.model.version}"
