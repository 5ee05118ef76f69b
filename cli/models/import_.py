"""`ferry models import`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.models.common import ModelsOption, explained, say_next
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, print_json

ORDERS = (
    "FER2013's is angry,disgust,fear,happy,sad,surprised,neutral; folders read in alphabetical order give "
    "angry,disgust,fear,happy,neutral,sad,surprised"
)


class Kind(StrEnum):
    """What a checkpoint is."""

    DETECTOR = "detector"
    EFFICIENTNET = "efficientnet"
    ARCFACE = "arcface"


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise typer.BadParameter(f"must be one of {', '.join(Kind)}, not {text!r}") from None


def import_model(
    kind: Annotated[
        str,
        typer.Argument(
            callback=_kind,
            metavar="KIND",
            help="What the checkpoint is: detector, arcface, or efficientnet, which stands for any timm model.",
        ),
    ],
    file: Annotated[Path, typer.Argument(help="safetensors, a state dict, or Ultralytics' best.pt.")],
    *,
    name: Annotated[str | None, typer.Option(help="In the repository; by default the kind.")] = None,
    arch: Annotated[str | None, typer.Option(help="timm's name of the network or backbone; guessed without.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Classes in the model's order, with commas; else as the file says.")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="CLASS=EXPRESSION", help="What a class means; repeatable."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPRESSION", help="It has no class for this one of the seven; repeatable, or commas."),
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="N", min=32, max=2048, help="Side of the input, pixels.")] = None,
    mean: Annotated[str | None, typer.Option(help="Per channel of pixels in [0, 1], with commas.")] = None,
    std: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    scale: Annotated[float, typer.Option(min=0.1, max=1000, help="arcface: of the cosine head.")] = 16.0,
    linear: Annotated[bool, typer.Option("--linear", help="arcface: the head does not normalise.")] = False,
    score_threshold: Annotated[float, typer.Option(min=0.001, max=1, help="detector: least score of a face.")] = 0.25,
    data: Annotated[Path | None, typer.Option(help="Judge it on this data and keep the figures.")] = None,
    license_: Annotated[str, typer.Option("--license", help="Of the weights.")] = "not stated: ask who trained it",
    models_dir: ModelsOption = MODELS_DIR,
    as_json: JsonOption = False,
) -> None:
    """Turn a checkpoint into the next version of a model. The file is never trusted: nothing in it is run."""
    with explained():
        from dataclasses import replace

        import torch

        from modelkit.importing.arcface import import_arcface
        from modelkit.importing.checkpoint import read_checkpoint
        from modelkit.importing.classifier import import_classifier
        from modelkit.importing.errors import CheckpointError
        from modelkit.importing.labels import make_labels, parse_overrides, parse_without
        from modelkit.importing.yolo import import_yolo
        from modelkit.releases.imported import Source, publish_classifier, publish_detector

        torch.set_num_threads(1)
        overrides, lacking = parse_overrides(mapping or []), parse_without(without or [])
        named = tuple(part.strip() for part in labels.split(",")) if labels else None
        if kind is Kind.DETECTOR:
            detector = import_yolo(file, size)
            _say_shells(detector.shells)
            if named is not None and len(named) != len(detector.names):
                raise CheckpointError(f"the model has {len(detector.names)} classes, and {len(named)} labels are named")
            meant = make_labels(named or detector.names, overrides, detector=True, without=lacking)
            source = Source(file, license_, detector.architecture)
            version = publish_detector(
                detector, meant, source, models_dir, name or kind, score_threshold=score_threshold, data=data
            )
        else:
            checkpoint = read_checkpoint(file)
            _say_shells(checkpoint.shells)
            if kind is Kind.ARCFACE:
                imported = import_arcface(checkpoint.tensors, arch, scale, linear)
            else:
                imported = import_classifier(checkpoint.tensors, arch)
            classes = named or checkpoint.class_names
            if classes is None:
                raise CheckpointError(
                    f"the file does not name its {imported.classes} classes: pass --labels in the model's own order. "
                    f"{ORDERS}. A wrong order answers wrongly without an error"
                )
            if len(classes) != imported.classes:
                raise CheckpointError(f"the model has {imported.classes} classes, and {len(classes)} labels are named")
            meant = make_labels(classes, overrides, without=lacking)
            imported = replace(
                imported,
                size=size or imported.size,
                mean=_numbers("--mean", mean, imported.channels) or imported.mean,
                std=_numbers("--std", std, imported.channels) or imported.std,
            )
            typer.echo(
                f"{imported.architecture}: input {imported.size} px, {imported.channels} channel(s), mean "
                f"{_shown(imported.mean)}, std {_shown(imported.std)}; say --size, --mean, --std if training differed",
                err=True,
            )
            source = Source(file, license_, imported.architecture)
            version = publish_classifier(imported, meant, source, models_dir, name or kind, data=data)
    if as_json:
        print_json(
            {"model": name or kind, "version": version.name, "labels": {each.name: each.expression for each in meant}}
        )
        return
    for label in meant:
        typer.echo(f"  {label.name} -> {label.expression or 'left out'}")
    typer.echo(f"published {version}")
    with explained():
        say_next(models_dir, name or kind, version.name)
    if data is None:
        typer.echo(f"nobody has judged it yet: ferry models evaluate {name or kind}:{version.name} --data DIR")


def _say_shells(shells: Sequence[str]) -> None:
    if shells:
        typer.echo(f"kept as empty shells, never run: {', '.join(shells)}", err=True)


def _numbers(option: str, text: str | None, channels: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{option} takes numbers with commas between them, not {text!r}") from error
    if len(values) != channels:
        raise ValueError(f"{option} takes {channels} number(s), one a channel, not {len(values)}")
    return values


def _shown(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
