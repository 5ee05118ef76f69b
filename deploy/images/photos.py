"""Recognises photos through the gateway, among them the largest that it takes."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from deploy.images.patience import SECONDS
from deploy.images.tool import ImagesError
from ferry.client import Client, FerryError, Recognition
from serving.images.header import MAX_IMAGE_BYTES, MAX_MEGAPIXELS

_PAUSE = 1.0
_ON_ITS_SIDE = 6
"""EXIF orientation that makes a decoder turn the picture, for which it is held twice."""


def photos(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the photos in a folder, then the first of them as large as a photo may be."""
    paths = sorted(folder.glob("*.jpg"))
    for path in paths:
        yield path.name, path.read_bytes()
    yield f"{paths[0].stem} at {MAX_MEGAPIXELS:g} megapixels", largest(paths[0])


def largest(path: Path) -> bytes:
    """The photo enlarged to just below `MAX_MEGAPIXELS`, stored on its side, as a JPEG below `MAX_IMAGE_BYTES`."""
    with Image.open(path) as photo:
        scale = (MAX_MEGAPIXELS * 1e6 / (photo.width * photo.height)) ** 0.5
        big = photo.convert("RGB").resize(
            (int(photo.width * scale), int(photo.height * scale)), Image.Resampling.BICUBIC
        )
    exif = Image.Exif()
    exif[0x0112] = _ON_ITS_SIDE
    encoded = io.BytesIO()
    big.transpose(Image.Transpose.ROTATE_90).save(encoded, "JPEG", quality=70, exif=exif)
    assert encoded.tell() <= MAX_IMAGE_BYTES
    return encoded.getvalue()


def recognise(address: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Rows of a table: photo, faces, expression of the surest face and its probability, milliseconds.

    Args:
        address: the gateway.
        folder: where the photos are; each shows a face.

    Raises:
        ImagesError: a photo is not answered in time by all models, has no face, or its second answer does not come from
            the cache.
    """
    with Client(address, timeout=SECONDS) as client:
        for name, image in photos(folder):
            answer = _answered(client, name, image)
            again = client.recognize(image)
            if not again.cached or again.faces != answer.faces:
                raise ImagesError(f"{name}: the second answer does not come from the cache")
            face = answer.faces[0]
            yield (
                name,
                str(len(answer.faces)),
                face.expression,
                f"{face.confidence:.0%}",
                f"{answer.timings.total_ms:.0f} ms",
            )


def _answered(client: Client, name: str, image: bytes) -> Recognition:
    """A complete answer. A machine that has other work may lose a call or a model on the way, which says nothing about
    the images: so it is asked again while there is time."""
    started = time.monotonic()
    while True:
        try:
            answer = client.recognize(image)
        except FerryError as error:
            problem = str(error)
        else:
            if not answer.faces:
                raise ImagesError(f"{name}: no face was found")
            if not answer.degraded:
                return answer
            missing = sorted({model for face in answer.faces for model in face.missing_models})
            problem = f"the answer is degraded, without {', '.join(missing)}"
        if time.monotonic() - started > SECONDS:
            raise ImagesError(f"{name}, asked for {SECONDS} s: {problem}")
        time.sleep(_PAUSE)
