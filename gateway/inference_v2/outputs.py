"""Answers of the pipeline as tensors."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from ferry.v1 import gateway_pb2, types_pb2
from gateway.plain import recognition_json
from serving.expressions import EXPRESSIONS
from serving.inference_v2.tensor import BYTES, Tensor, TensorSpec

ANSWER: Final = "answer"
OUTPUTS: Final = (
    TensorSpec(ANSWER, BYTES, (-1,)),
    TensorSpec("image_index", "INT32", (-1,)),
    TensorSpec("boxes", "FP32", (-1, 4)),
    TensorSpec("scores", "FP32", (-1,)),
    TensorSpec("expressions", BYTES, (-1,)),
    TensorSpec("probabilities", "FP32", (-1, len(EXPRESSIONS))),
)
"""`answer` is JSON, one for each image; the others have a row for each face of all images."""
_COLUMNS: Final[list[int]] = [types_pb2.Expression.Value(f"EXPRESSION_{name.name}") for name in EXPRESSIONS]


async def outputs(answers: Sequence[gateway_pb2.RecognizeResponse], wanted: frozenset[str]) -> tuple[Tensor, ...]:
    """
    Args:
        answers: one for each image.
        wanted: JSON is made only where it is among them.
    """
    faces = [face for answer in answers for face in answer.faces]
    count = len(faces)
    index = chain.from_iterable([i] * len(answer.faces) for i, answer in enumerate(answers))
    names = tuple(_name(face.expression).encode() for face in faces)
    tensors = (
        Tensor("image_index", "INT32", (count,), _packed("i", index)),
        Tensor("boxes", "FP32", (count, 4), _packed("f", chain.from_iterable(_box(face.box) for face in faces))),
        Tensor("scores", "FP32", (count,), _packed("f", (face.detection_score for face in faces))),
        Tensor("expressions", BYTES, (count,), items=names),
        Tensor("probabilities", "FP32", (count, len(_COLUMNS)), _packed("f", chain.from_iterable(map(_row, faces)))),
    )
    if ANSWER not in wanted:
        return tensors
    documents = []
    for answer in answers:
        # One takes milliseconds where there are many faces; in between, others have their turn.
        await asyncio.sleep(0)
        documents.append(recognition_json(answer))
    return (Tensor(ANSWER, BYTES, (len(documents),), items=tuple(documents)), *tensors)


def _name(expression: int) -> str:
    return EXPRESSIONS[_COLUMNS.index(expression)].value if expression in _COLUMNS else ""


def _box(box: types_pb2.BoundingBox) -> tuple[float, ...]:
    return (box.x_min, box.y_min, box.x_max, box.y_max)


def _row(face: types_pb2.Face) -> list[float]:
    known: dict[int, float] = {entry.expression: entry.probability for entry in face.probabilities}
    return [known.get(column, 0.0) for column in _COLUMNS]


def _packed(kind: str, values: Iterable[float]) -> bytes:
    listed = list(values)
    return struct.pack(f"<{len(listed)}{kind}", *listed)
