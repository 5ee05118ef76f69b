"""What a model answers, held against what its manifest says of it."""

from __future__ import annotations

from serving.models.backends.base import Outputs
from serving.repository.manifest import Manifest, Task
from serving.repository.repository import InvalidModelError


def check_outputs(manifest: Manifest, outputs: Outputs, rows: int) -> None:
    """That a model answers `rows` rows as its manifest says.

    Raises:
        InvalidModelError: an output is missing or has another shape.
    """
    here = f"{manifest.name} {manifest.version}"
    scores, embedding = manifest.output.scores, manifest.output.embedding
    for name in (scores, *([] if embedding is None else [embedding])):
        if name not in outputs:
            raise InvalidModelError(f"{here} has no output {name!r}; it has {', '.join(sorted(outputs))}")
    labels = len(manifest.labels)
    shape = outputs[scores].shape
    if manifest.task is Task.DETECT:
        fits, wanted = len(shape) == 3 and shape[:2] == (rows, 4 + labels), f"[{rows}, {4 + labels}, anchors]"
    else:
        fits, wanted = shape == (rows, labels), f"[{rows}, {labels}]"
    if not fits:
        raise InvalidModelError(f"{here} answers {list(shape)} where its {labels} label(s) need {wanted}")
    if embedding is not None and (outputs[embedding].ndim != 2 or len(outputs[embedding]) != rows):
        raise InvalidModelError(f"{here} answers embeddings {list(outputs[embedding].shape)}, not [{rows}, D]")
