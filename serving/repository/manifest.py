"""What a model version says of itself: `manifest.json` beside `model.onnx`.

The manifest holds everything serving needs to feed a model and read its answer, the SHA-256 of every
file, and the record of how the model was made. Serving and toolchain read the same manifest with the
same code, so a photo cannot be prepared one way in evaluation and another way in production.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from serving.expressions import Expression
from serving.frozen import Frozen

MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
VERSION_PATTERN = r"^[0-9]{1,9}$"
FILE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Task(StrEnum):
    DETECT = "detect"
    CLASSIFY = "classify"


class Color(StrEnum):
    RGB = "rgb"
    GREY = "grey"


class Activation(StrEnum):
    """How the raw output becomes probabilities; `NONE`: the graph already ends in probabilities."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"


class ScoreRule(StrEnum):
    """How a detector's class scores become the score of the face.

    `MAX` is the usual rule of one-label detectors. `SUM` (clipped at 1) suits a detector whose classes
    share one face between them: an ambiguous expression must not make the face less certain.
    """

    MAX = "max"
    SUM = "sum"


class Encoding(StrEnum):
    """What goes into a graph.

    `FLOATS`: float32 [N, C, height, width], values (pixel / 255 - mean) / std. `BYTES`: uint8 [N, height, width, C], of
    which the graph itself makes that.
    """

    FLOATS = "float32"
    BYTES = "uint8"


class InputSpec(Frozen):
    """The tensor the model eats; `encoding` says how pixels lie in it."""

    name: str = Field(min_length=1, max_length=128)
    width: int = Field(ge=8, le=4096, description="pixels")
    height: int = Field(ge=8, le=4096, description="pixels")
    color: Color
    mean: tuple[Finite, ...] = Field(description="per channel, of pixels scaled to [0, 1]")
    std: tuple[Annotated[Finite, Field(ge=1e-6)], ...] = Field(description="per channel")
    resize: str = Field(
        default="bilinear",
        pattern="^(bilinear|bicubic|box|nearest)$",
        description="Pillow's filter of that name, antialiased when it shrinks",
    )
    crop_margin: Annotated[Finite, Field(ge=-0.4, le=2.0)] = Field(
        default=0.0,
        description="classifiers: what is added to each side of the squared face box, as a share of its side",
    )

    encoding: Encoding = Encoding.FLOATS
    sides: tuple[Annotated[int, Field(ge=8, le=4096)], ...] = Field(
        default=(),
        max_length=16,
        description="detectors: pixels that the shorter side of the input may have as well; for it the graph takes any "
        "width and height of that size",
    )

    @property
    def channels(self) -> int:
        return 1 if self.color is Color.GREY else 3

    @property
    def frames(self) -> tuple[tuple[int, int], ...]:
        """Every width and height in which the model may be run: the full ones first, then with one side shorter."""
        lying = [(self.width, side) for side in self.sides if side < self.height]
        standing = [(side, self.height) for side in self.sides if side < self.width]
        return ((self.width, self.height), *lying, *standing)

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of one row of the tensor, in the order of `frames`."""
        if self.encoding is Encoding.BYTES:
            return tuple((height, width, self.channels) for width, height in self.frames)
        return tuple((self.channels, height, width) for width, height in self.frames)

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        for field in ("mean", "std"):
            if len(getattr(self, field)) != self.channels:
                raise ValueError(f"{field} needs {self.channels} value(s) for {self.color} input")
        return self


class Label(Frozen):
    """One class of the model, by its own name; `expression` is None where Ferry has no counterpart."""

    name: str = Field(min_length=1, max_length=64)
    expression: Expression | None


class OutputSpec(Frozen):
    """Names of the graph's outputs.

    Classifiers: `scores` is float32 [N, len(labels)], `embedding` (optional) float32 [N, D], L2-normalised.
    Detectors: `scores` is the YOLOv8/11 head [N, 4 + len(labels), anchors]: centre x, centre y, width,
    height in input pixels, then one score per label.
    """

    scores: str = Field(min_length=1, max_length=128)
    activation: Activation
    embedding: str | None = None
    temperature: Annotated[Finite, Field(gt=0.01, lt=100)] = Field(
        default=1.0, description="logits are divided by it (temperature scaling, Guo et al. 2017)"
    )


class DetectionSpec(Frozen):
    """How a detector's raw output becomes faces."""

    score_rule: ScoreRule = ScoreRule.MAX
    score_threshold: Annotated[Finite, Field(ge=0.001, le=1)] = 0.25
    iou_threshold: Annotated[Finite, Field(gt=0, le=1)] = 0.5


class Manifest(Frozen):
    """One immutable version of one model."""

    schema_version: int = Field(default=1, ge=1, le=1)
    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(pattern=VERSION_PATTERN)
    task: Task
    architecture: str = Field(max_length=128)
    description: str = Field(default="", max_length=4096)
    license: str = Field(default="", max_length=256)
    input: InputSpec
    labels: tuple[Label, ...] = Field(min_length=1, max_length=1024)
    output: OutputSpec
    detection: DetectionSpec | None = None
    precision: str = Field(default="fp32", max_length=64, description="of the stored weights")
    variants: dict[str, str] = Field(
        default_factory=lambda: {"default": "model.onnx"},
        description="precision variant to file name; `default` is always there",
    )
    variant_backends: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="variant to the backends on which its accuracy passed its gate; it may run on no other",
    )
    files: dict[str, str] = Field(description="file name to SHA-256, hexadecimal")
    training: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)

    @field_validator("files")
    @classmethod
    def _files_are_plain(cls, files: dict[str, str]) -> dict[str, str]:
        for name, digest in files.items():
            if not re.fullmatch(FILE_PATTERN, name):
                raise ValueError(f"{name!r} is not a plain file name")
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ValueError(f"the digest of {name!r} is not a SHA-256 in hexadecimal")
        return files

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "default" not in self.variants:
            raise ValueError("variants has no 'default'")
        for variant, file in self.variants.items():
            if file not in self.files:
                raise ValueError(f"variant {variant!r} names {file!r}, which files does not list")
        for variant in self.variant_backends:
            if variant == "default" or variant not in self.variants:
                raise ValueError(f"variant_backends names {variant!r}, which is no variant besides the default")
        if (self.task is Task.DETECT) != (self.detection is not None):
            raise ValueError("`detection` belongs to detectors, and to every detector")
        if self.input.sides and self.task is not Task.DETECT:
            raise ValueError("input.sides belongs to detectors: a classifier's crops are square")
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise ValueError("two labels have the same name")
        if self.task is Task.CLASSIFY and not any(label.expression for label in self.labels):
            raise ValueError("no label maps to an expression")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides an answer: preprocessing, labels, outputs and file digests."""
        records = {"description", "license", "training", "evaluation", "variant_backends"}
        decisive = self.model_dump(mode="json", exclude=records)
        # Versions from before these fields keep their digests.
        for name in ("encoding", "sides"):
            if getattr(self.input, name) == InputSpec.model_fields[name].default:
                del decisive["input"][name]
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def has_expressions(self) -> bool:
        """Whether the model has an opinion on expression at all."""
        return any(label.expression for label in self.labels)

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Reads and validates `directory/manifest.json`.

        Raises:
            OSError: it cannot be read.
            ValueError: it is too large, not JSON, or does not fit (pydantic's error names the field).
        """
        path = directory / MANIFEST_FILE
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes")
        return cls.model_validate_json(path.read_bytes())
