"""By how much a JPEG may be shrunk while it is decoded, so that neither the search nor a crop loses anything by it."""

from __future__ import annotations

from collections.abc import Sequence

from serving.images.cost import Outline
from serving.repository.manifest import Manifest

SEARCH_RESERVE = 2.0
"""The copy in which faces are sought is this many times larger than the model's input. Pillow's own shortcut when it
resizes (`reducing_gap`) is as good from 2 up; so pictures up to twice the input are decoded whole."""
CROP_RESERVE = 2.0
"""A crop is cut from a copy in which its square is this many times larger: then the filter that shrinks it does the
same as from the whole picture, but for rounding."""


def reduction_for_search(image: Outline, manifest: Manifest, detail: int = 1) -> int:
    """The factor for finding faces: 1, 2, 4 or 8. With tiles, `detail` of them side by side, less is lost."""
    spec = manifest.input
    # Whichever way up the picture is: its header does not say.
    scale = max(
        min(spec.width / width, spec.height / height)
        for width, height in ((image.width, image.height), (image.height, image.width))
    )
    return max((by for by in image.costs if by * scale * detail * SEARCH_RESERVE <= 1), default=1)


def reduction_for_crops(image: Outline, sides: Sequence[float], crop_size: int) -> int:
    """The factor for cutting crops of squares with these sides in pixels: 1, 2, 4 or 8."""
    return max((by for by in image.costs if crops_lose_nothing(by, sides, crop_size)), default=1)


def crops_lose_nothing(reduction: int, sides: Sequence[float], crop_size: int) -> bool:
    """Whether a copy is as good as the picture itself for crops of squares with these sides in pixels."""
    return reduction == 1 or all(side >= reduction * crop_size * CROP_RESERVE for side in sides)
