"""How each classifier is made: architecture, input and every setting of its training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from modelkit.graphs.half_weights import LEAST_HALF
from modelkit.training.augment import Augmentation

EXPORT_ONLY = {"symmetric", "start_share", "least_half"}
"""Settings that change the exported file, not what is learnt."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; equal recipe, data and seed make equal weights on one machine."""

    name: str
    description: str
    gate: float  # smallest accuracy on the reported split, against the crowd where it voted, to be published
    architecture: str  # a name that `modelkit.networks.architectures.build` knows
    input_size: int  # pixels
    mean: float  # of pixels scaled to [0, 1]
    std: float
    epochs: int
    license: str = "Apache-2.0"  # of the weights, an SPDX expression
    options: dict[str, Any] = field(default_factory=dict)  # of the architecture
    batch_size: int = 128
    optimizer: str = "sgd"  # with Nesterov momentum; or "adamw"
    learning_rate: float = 0.1  # the peak, after a warm-up; then half a cosine to zero
    warmup: float = 0.1  # share of all steps
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    teacher_share: float = 0.5  # of the targets, where there are teachers; they replace label smoothing
    heads: int = 1  # 1 learns labels; 2 learn the crowd's votes and labels, and are joined when the model is exported
    label_weight: float = 0.4  # of the second head in the loss
    photographed: bool = False  # teachers also label faces of faces/train, which nobody else did
    equalized: float = 0.0  # probability of a view with an even histogram
    mixup: float = 0.2  # alpha of the Beta distribution; 0 switches it off
    mixup_share: float = 0.5  # of the batches
    margin: float = 0.0  # ArcFace's m in radians, reached by a linear ramp
    margin_ramp: tuple[float, float] = (0.1, 0.5)  # shares of all steps
    ema_decay: float = 0.998
    clip_norm: float = 5.0
    seed: int = 7
    start_share: float = 0.0  # of the exported weights: those the run started from (Wortsman et al., CVPR 2022)
    least_half: int = LEAST_HALF  # weights of fewer numbers are not stored as float16
    symmetric: bool = False  # the exported network also looks at the mirrored crop, at twice the cost
    view_sizes: tuple[tuple[float, int], ...] = ()  # up to this share of steps, views of this side; then input_size
    frozen: tuple[str, ...] = ()  # parameters with these prefixes stay as they are
    freeze_after: float = 1.0  # from this share of steps on
    augmentation: Augmentation = field(default_factory=Augmentation)
    augmentation_schedule: tuple[tuple[float, float], ...] = ((0.3, 1.0), (1.0, 0.2))  # share of steps, strength
    refinement: dict[str, Any] = field(default_factory=dict)  # changes for a run that goes on from published weights

    def as_record(self) -> dict[str, Any]:
        """Everything that decides the model, as plain values."""
        elsewhere = {"description", "license", "gate", "refinement"}
        return {key: value for key, value in asdict(self).items() if key not in elsewhere}

    @property
    def refined(self) -> Self:
        """The recipe of a run that goes on from published weights."""
        return replace(self, **self.refinement)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the weights: two runs of one identity on the same data are the same run."""
        return {key: value for key, value in self.as_record().items() if key not in EXPORT_ONLY}

    def with_changes(self, **changes: Any) -> Self:
        """A copy in which the given settings differ; None means unchanged."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


PHOTOGRAPHED = Augmentation(erase=0.3, scale=0.24, shift=0.08, blur=0.15, small=0.3, jpeg=0.3, light=0.2, noise=0.04)
"""Views as photos give them. On faces/validation, nine in ten of the default detector's boxes lie within 0.08 (across)
and 0.11 (down) of the label's centre, in sides of the face, and nine in ten are 0.75 to 1.26 times its size."""


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="arcface",
            description="MobileNet pretrained on faces, with a 512-d L2-normalised embedding and ArcFace's margin.",
            gate=0.83,
            license="Apache-2.0 AND MIT",
            architecture="face-mobilenet",
            options={"dropout": 0.2, "scale": 16.0},
            input_size=96,
            mean=0.459,  # 117 of 255, the grey of the means that VGGFace2's networks subtract
            std=0.25,
            epochs=12,
            batch_size=64,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup=0.05,
            mixup=0.0,
            margin=0.05,
            margin_ramp=(0.19, 0.4),
            heads=2,
            equalized=0.25,
            augmentation=PHOTOGRAPHED,
            augmentation_schedule=((0.6, 1.0), (0.9, 0.7), (1.0, 0.4)),
            symmetric=True,
            view_sizes=((0.25, 80),),
            seed=101,
            refinement={
                "epochs": 6,
                "learning_rate": 5e-4,
                "teacher_share": 0.5,
                "margin_ramp": (0.0, 0.01),
                "view_sizes": (),
                "augmentation_schedule": ((0.6, 0.8), (0.9, 0.6), (1.0, 0.3)),
            },
        ),
        Recipe(
            name="efficientnet",
            description="EfficientNet-B3 with ReLU6 on grey 96 px crops.",
            gate=0.83,
            architecture="timm:tf_efficientnet_b3",
            options={"drop_rate": 0.3, "drop_path_rate": 0.15, "act_layer": "relu6"},
            input_size=96,
            least_half=1 << 18,
            mean=0.5,
            std=0.5,
            epochs=14,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup=0.05,
            batch_size=64,
            mixup=0.0,
            label_smoothing=0.1,
            heads=2,
            equalized=0.25,
            augmentation=PHOTOGRAPHED,
            augmentation_schedule=((0.6, 1.0), (0.9, 0.7), (1.0, 0.4)),
            ema_decay=0.998,
            view_sizes=((0.5, 64), (0.8, 80)),
            seed=102,
            refinement={
                "epochs": 12,
                "batch_size": 256,
                "teacher_share": 0.75,
                "mixup": 0.8,
                "view_sizes": (),
                "augmentation": PHOTOGRAPHED,
                "augmentation_schedule": ((0.6, 1.0), (0.9, 0.7), (1.0, 0.5)),
            },
        ),
        Recipe(
            name="iresnet",
            description="Residual network with ArcFace's embedding; a teacher, too slow to be served on a CPU.",
            gate=0.60,
            architecture="iresnet",
            options={"widths": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "dropout": 0.4, "scale": 16.0},
            input_size=96,
            mean=0.459,
            std=0.25,
            epochs=25,
            optimizer="adamw",
            learning_rate=2e-3,
            weight_decay=0.05,
            warmup=0.05,
            augmentation=Augmentation(erase=0.4),
            augmentation_schedule=((0.5, 1.0), (0.9, 0.6), (1.0, 0.4)),
        ),
    )
}
