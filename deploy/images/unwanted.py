"""What no image that serves may hold: compilers, training frameworks, installers, somebody's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable

_COMPILER = re.compile(
    r"(?:.*/)?s?bin/(?:[\w.]+-linux-\w+-)?"
    r"(?:gcc|g\+\+|cc|c\+\+|cpp|c\d\d|clang|clang\+\+|gfortran|tcc|rustc|cargo|go|nvcc|as|ld|ld\.(?:bfd|gold|lld))(?:-[\d.]+)?"
    # What the commands above start; it is the compiler proper.
    r"|(?:.*/)?(?:cc1|cc1plus|collect2|lto1|f951)"
)
_PACKAGES = ("torch", "torchvision", "torchaudio", "timm", "ultralytics", "tensorflow", "jax", "pip", "setuptools")
_PACKAGE = re.compile(
    rf"(?:.*/)?(?:site|dist)-packages/(?:{'|'.join(_PACKAGES)})(?:\.py|(?:-[^/]*)?\.(?:dist|egg)-info)?(?:/.*)?",
    re.IGNORECASE,
)
_LIBRARY = re.compile(r"(?:.*/)?(?:libtorch\w*|libc10\w*)\.so[\d.]*")
_CONFIGURATION = re.compile(r"(?:.*/)?(?:pip\.conf|\.netrc|\.pypirc)")


def unwanted(paths: Iterable[str]) -> list[str]:
    """Those of an image's `paths` (no leading slash) that must not be there."""
    patterns = (_COMPILER, _PACKAGE, _LIBRARY, _CONFIGURATION)
    return [path for path in paths if any(pattern.fullmatch(path) for pattern in patterns)]
