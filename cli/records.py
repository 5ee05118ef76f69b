"""What became of a photo, as data for programs and as lines for people."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli.output import is_terminal
from ferry.client import Face, FerryError, ModelOpinion, Recognition

_WIDTH = 80
"""Columns that lines for people in a terminal need at most, names of files excepted."""
_TOGETHER = "\u00a0"
"""A space at which no line is broken."""


def path_text(photo: Path) -> str:
    """Its path; a name that is no text has signs in the place of what is none."""
    return os.fsencode(photo).decode(errors="replace")


def record(photo: Path, result: Recognition | FerryError) -> dict[str, Any]:
    """As `ferry predict --json` has it."""
    return {"path": path_text(photo), **outcome(result)}


def outcome(result: Recognition | FerryError) -> dict[str, Any]:
    """What became of a photo or a frame, without its name."""
    if isinstance(result, FerryError):
        return {"error": str(result), "code": result.code}
    return {
        "faces": [_face_record(face) for face in result.faces],
        "image_size": [result.image_size.width, result.image_size.height],
        "timings_ms": {name.removesuffix("_ms"): value for name, value in asdict(result.timings).items()},
        "cached": result.cached,
        "degraded": result.degraded,
        "variant": result.variant,
        "request_id": result.request_id,
    }


def _name(photo: Path | str) -> str:
    """Of a photo, in one line: control characters in the names of files would reach the terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(photo))


def lines(photo: Path | str, result: Recognition | FerryError) -> Iterator[str]:
    """The name of a photo or a frame and what became of it, then a line a face, with what each model said below it."""
    if isinstance(result, FerryError):
        yield f"{_name(photo)}: error"
        yield from _wrapped(str(result), "    ")
        return
    count = {0: "no face", 1: "1 face"}.get(len(result.faces), f"{len(result.faces)} faces")
    yield f"{_name(photo)}: {count}, {result.timings.total_ms:.0f} ms" + (", cached" if result.cached else "")
    for number, face in enumerate(result.faces):
        left, top, right, bottom = (f"{edge:.0f}" for edge in face.box.xyxy)
        said = f"{face.expression} {face.confidence:.2f}"
        missing = f"  without {', '.join(face.missing_models)}" if face.missing_models else ""
        yield f"{number:>4}  {said:<15}  at {left}, {top}, {right}, {bottom}{missing}"
        opinions = ", ".join(_said(opinion) for opinion in face.models)
        yield from _wrapped(opinions, "      ")


def _wrapped(text: str, indent: str) -> list[str]:
    """For whoever looks; what goes into a file or another program stays a line."""
    if not is_terminal(sys.stdout):
        return [indent + " ".join(text.split())]
    # What belongs together is one word until it is broken into lines.
    wrapped = textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_TOGETHER, " ") for line in wrapped]


def _said(opinion: ModelOpinion) -> str:
    said = f"{opinion.model.name} {opinion.model.version}: {opinion.expression} {opinion.confidence:.2f}"
    return said.replace(" ", _TOGETHER) if is_terminal(sys.stdout) else said


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
