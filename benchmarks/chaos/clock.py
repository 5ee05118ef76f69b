"""A clock of the time of day that can be set while processes run, by libfaketime; time that passes is the machine's."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

_SECONDS = 1
"""Until a process looks whether the clock was set; it counts whole seconds, and looks when there are more."""


class Clock:
    """For processes that are started with `environment`."""

    def __init__(self, file: Path) -> None:
        """
        Args:
            file: to be made, by which processes learn what time it is.

        Raises:
            FileNotFoundError: libfaketime is not installed, or not for this platform.
        """
        self._file = file
        spec = importlib.util.find_spec("libfaketime")
        places = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
        found = [library for place in places for library in place.rglob("libfaketime.so.1")]
        if not found:
            raise FileNotFoundError("libfaketime.so.1: install the package libfaketime")
        file.write_text("+0\n")
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": str(_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "0",
        }

    def jump(self, seconds: float) -> None:
        """Sets it so far from the machine's; returns when everybody has seen it."""
        self._file.write_text(f"{seconds:+.0f}\n")
        time.sleep(_SECONDS + 1.1)
