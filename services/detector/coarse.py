"""A first look at a smaller copy of a picture, for a quarter of the work: where all is clear, there is no second one.

All is clear where the detector is sure of one face at least and of all that might be one, and where none is small.
What that means in numbers was measured with the weights, and stands in the manifest. So a portrait takes the small
look alone, and a crowd both. Boxes of large faces are no worse in the small copy: the model has learnt them that size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.detector.engine import DetectedFace, find_faces
from services.detector.letterbox import Geometry
from services.detector.options import Options
from serving.faces import MAX_FACES
from serving.repository.manifest import CoarseSpec, Manifest


def coarse_spec(manifest: Manifest, options: Options, detail: int) -> CoarseSpec | None:
    """When a first look is enough; None: this request is to be looked at closely at once.

    Args:
        manifest: of the detector.
        options: of the request. Who wants what is hardly a face, too, does not get it from a smaller copy.
        detail: as looked at, 1 or more.
    """
    spec = manifest.coarse
    if spec is None or detail > 1 or (options.min_score is not None and options.min_score < spec.unsure):
        return None
    return spec


def clear_faces(
    raw: npt.NDArray[np.float32], geometry: Geometry, manifest: Manifest, spec: CoarseSpec
) -> list[DetectedFace] | None:
    """The faces of an image after its first look, surest first, those of which the detector is not sure left out.

    Args:
        raw: float32 [4 + labels, anchors], the image's row of the model's output.
        geometry: where it lies in the frame of that look.
        manifest: of the detector.
        spec: when the look is enough.

    Returns:
        None where it is not: the image is to be looked at closely.
    """
    faces = find_faces(raw, geometry, manifest, MAX_FACES, spec.unsure)
    if not faces or faces[-1].score < spec.sure or len(faces) == MAX_FACES:
        return None
    smallest = min(float((face.box[2:] - face.box[:2]).max()) for face in faces)
    return faces if smallest * geometry.scale_x >= spec.least_face else None
