"""Pictures that are made to kill."""

from __future__ import annotations

import io

from PIL import Image

from tests.kubernetes.scenarios import callers
from tests.kubernetes.scenarios.callers import PHOTO, calling
from tests.kubernetes.scenarios.cluster import Cluster
from tests.kubernetes.scenarios.conftest import Scenario

_SIDE = 6300
_TURNED = 6
"""EXIF orientation that makes a decoder turn the picture."""


def deadly() -> bytes:
    """A lossless WebP of 1.6 kB that is nearly 40 megapixels, with transparency, and has to be turned."""
    exif = Image.Exif()
    exif[0x0112] = _TURNED
    encoded = io.BytesIO()
    Image.new("RGBA", (_SIDE, _SIDE)).save(encoded, "WEBP", lossless=True, exif=exif)
    return encoded.getvalue()


def test_a_small_picture_that_asks_for_much_memory(installed: Cluster, scenario: Scenario) -> None:
    picture = deadly()
    kubectl = installed.in_namespace(callers.NAMESPACE)
    kubectl.apply([callers.program({PHOTO.name: PHOTO.read_bytes(), "deadly.webp": picture})])
    with scenario(f"a picture of {len(picture)} bytes that decodes to {_SIDE}x{_SIDE} RGBA, turned") as run:
        run.event("sent")
        flags = ("--callers=2", "--calls=3", "--timeout=60")
        with calling(kubectl, "hostile", *flags, image="deadly.webp", node=installed.steady) as hostile:
            hostile.finished()
        codes = sorted({call.code for call in hostile.calls})
        run.fact(f"{len(hostile.calls)} of them sent, answered with {', '.join(codes)}")
