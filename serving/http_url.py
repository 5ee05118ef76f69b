"""An HTTP address, checked before anybody asks it. What is wrong with it is said without any part of it."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

_SCHEMES: Final = frozenset({"http", "https"})


def http_url(url: str) -> SplitResult:
    """The parts of an address that may be asked.

    Raises:
        ValueError: it is not http or https, names no host, or carries a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Its words quote what they take for a port, which may be half of a password.
        raise ValueError("must have a host and a port that can be read, and neither a user nor a password") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("must be http:// or https://")
    if not parts.hostname or any(ord(letter) <= 32 or ord(letter) > 126 for letter in url):
        raise ValueError("must name a host, and hold neither spaces nor letters outside ASCII")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user or a password")
    return parts
