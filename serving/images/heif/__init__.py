"""HEIC and AVIF: the header is read here, the pixels in a process of their own, and only where that is switched on."""

KINDS = ("HEIC", "AVIF")
