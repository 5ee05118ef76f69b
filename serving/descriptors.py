"""How many files and connections a process may have open."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress

log = logging.getLogger(__name__)

_PORTS = 3
"""Of gRPC, HTTP and health, each of which takes as many connections as there may be."""
SPARE = 512
"""For everything else: files, channels to other services, Redis, scrapers of metrics."""


def allow(connections: int) -> None:
    """Raises this process's limit as far as so many connections may need, and says where it may not.

    Shells and supervisors set it to 1,024 where they are told nothing else, and let a process raise it itself.

    Args:
        connections: at once, of each port.
    """
    needed = _PORTS * connections + SPARE
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        wanted = needed if most == resource.RLIM_INFINITY else min(needed, most)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            allowed = wanted
        if allowed < needed:
            log.warning(
                "at most %d files and connections may be open, and the settings may need %d: raise the limit (ulimit "
                "-n), or lower FERRY_MAX_CONNECTIONS",
                allowed,
                needed,
            )
