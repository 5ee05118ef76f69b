"""The first frame of a WebP without the copies that Pillow's reader makes of it and of the decoder's two canvases."""

from __future__ import annotations

from PIL import Image


def load_webp(image: Image.Image) -> Image.Image:
    """Decodes an opened WebP; the image that comes back shares the decoder's bytes.

    libwebp's decoder of animations keeps two canvases, and Pillow copies one of them twice: 16 bytes a pixel for a
    still picture. Without its copies there are 12 for a moment, and 4 in the end.

    Raises:
        EOFError: the frame is broken or truncated.
    """
    decoder = getattr(image, "_decoder", None)
    rawmode = getattr(image, "rawmode", None)
    if decoder is None or rawmode not in {"RGBX", "RGBA"}:
        image.load()  # a Pillow that reads WebP in another way: correct, with its copies
        return image
    frame = decoder.get_next()
    del decoder
    vars(image).pop("_decoder")
    if frame is None:
        raise EOFError("failed to decode the first frame")
    return Image.frombuffer(rawmode, image.size, frame[0], "raw", rawmode, 0, 1)
