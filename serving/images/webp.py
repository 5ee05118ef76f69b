"""The first frame of a WebP without the copies that Pillow's reader makes of it and of the decoder's two canvases; and
what the codes of lossless ones may take."""

from __future__ import annotations

from typing import Final

from PIL import Image

CODE_BYTES: Final = 48 << 20
"""That codes are reckoned with. libwebp's encoder makes 2,600 groups of codes at most, of 16 KiB."""
_LOSSLESS: Final = (b"VP8L", b"ALPH")
_MOST_GROUPS: Final = 1 << 16
_GROUP_BYTES: Final = 21 << 10
"""libwebp's tables of the five codes of a group (2,300 entries of four bytes and 2,704 for the longest codes with the
largest colour cache), and the group itself."""
_BYTES_OF_BYTE: Final = 2_100
"""The shortest code, of four bits, fills 256 entries."""


def most_code_bytes(data: bytes, pixels: int) -> int:
    """What the codes of a lossless picture, or of a lossless alpha channel, may take in memory at most (RFC 9649,
    section 3.7.2); nobody knows before the picture is decoded. 0 where nothing in the file is lossless.

    Args:
        data: the file that the picture is in.
        pixels: of the picture; a group of codes is for 16 at least.
    """
    if not any(kind in data for kind in _LOSSLESS):
        return 0
    return min(min(_MOST_GROUPS, pixels // 16 + 1) * _GROUP_BYTES, _BYTES_OF_BYTE * len(data))


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
