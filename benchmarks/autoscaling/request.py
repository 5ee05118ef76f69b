"""One image on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.autoscaling.pod import Pod


@dataclass(slots=True, eq=False)
class Request:
    """
    Attributes:
        arrived: seconds.
        deadline: seconds, of the call to a model under way; what still waits then is dropped.
        hit: whether the gateway has the answer.
        faces: rows for every classifier.
        gateway: that holds it.
        ensembler: that asks for it.
        pending: classifiers that have not answered.
        ended: whether its caller has an answer or an error.
    """

    arrived: float
    deadline: float
    hit: bool
    faces: int
    gateway: Pod
    ensembler: Pod | None = None
    pending: int = 0
    ended: bool = False
