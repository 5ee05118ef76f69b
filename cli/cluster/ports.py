"""Ports for the processes of a cluster."""

from __future__ import annotations

import errno
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cli.cluster.errors import ClusterError
from serving.listening import is_elsewhere, refusal

# Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that nothing else takes
# a port between its choice here and the start of the service.
_FREE_RANGE = range(20_000, 32_000)


def is_free(host: str, port: int) -> bool:
    """True when a server could listen on `host:port` now."""
    return refusal(host, port) is None


def free(count: int) -> list[int]:
    """`count` different ports on which nothing listens.

    Raises:
        ClusterError: there are not that many.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(_FREE_RANGE, len(_FREE_RANGE)):
        if len(found) == count:
            return found
        if is_free("127.0.0.1", port):
            found.append(port)
    raise ClusterError(f"there are no {count} free ports in {_FREE_RANGE.start} to {_FREE_RANGE.stop - 1}")


@contextmanager
def hold(port: int) -> Iterator[None]:
    """Keeps `port` from the other clusters of this machine. Does nothing where the system is not Linux.

    A gateway opens its port when all is loaded; until then it seems free, and gateways that share a port would share it
    with those of another cluster. So each cluster keeps a name for its port: a socket's, which is no file. The kernel
    lets one have it at a time, and takes it back when that one ends, however it ends.

    Raises:
        ClusterError: another cluster keeps it.
    """
    with socket.socket(socket.AF_UNIX) as name:
        if sys.platform == "linux":
            try:
                name.bind(f"\0ferry-port-{port}")
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise _taken(port, "--port") from error
        yield


class Chosen:
    """Ports that the flags of one cluster choose."""

    def __init__(self) -> None:
        self._options: dict[int, str] = {}
        """What each is chosen by."""

    def following(self, host: str, first: int, count: int, option: str) -> list[int]:
        """`first` and the `count - 1` ports after it, all free.

        Args:
            host: where the first of them is listened on; the others on 127.0.0.1.
            option: the flag that chooses `first`, for the error.

        Raises:
            ClusterError: one is taken, chosen by another flag, or does not exist.
        """
        ports = list(range(first, first + count))
        if ports[-1] > 65535:
            raise ClusterError(f"{count} ports from {first} on do not exist; choose a lower {option}")
        for port in ports:
            if port in self._options:
                raise ClusterError(f"port {port} is chosen twice, by {self._options[port]} and by {option}; change one")
        _all_free(host, ports, option)
        self._options |= dict.fromkeys(ports, option)
        return ports


def _all_free(host: str, ports: list[int], option: str) -> None:
    for index, port in enumerate(ports):
        at = host if index == 0 else "127.0.0.1"
        if error := refusal(at, port):
            raise _why_not(error, at, port, option) from error


def _why_not(error: OSError, host: str, port: int, option: str) -> ClusterError:
    if is_elsewhere(error):
        return ClusterError(f"{host} is no address of this machine; choose another with --host")
    if error.errno == errno.EACCES:
        return ClusterError(f"this user may not open port {port}; choose another with {option}")
    return _taken(port, option)


def _taken(port: int, option: str) -> ClusterError:
    return ClusterError(
        f"port {port} is taken, perhaps by another cluster; stop it, or choose other ports with {option} "
        "(--port 0 takes free ones)"
    )
