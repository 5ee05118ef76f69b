"""Ports for the processes of a cluster."""

from __future__ import annotations

import errno
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cli.cluster.errors import ClusterError
from serving.listening import is_elsewhere, refusal

# Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that nothing else takes
# a port between its choice here and the start of the service.
_FREE_RANGE = range(20_000, 32_000)
_ALL = frozenset({"0.0.0.0", "::"})  # noqa: S104
"""Addresses that stand for all."""


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
def hold(host: str, port: int) -> Iterator[None]:
    """Keeps `port` of `host` from the other clusters of this machine. Does nothing where the system is not Linux.

    A gateway opens its port when all is loaded; until then it seems free, and gateways that share a port would share it
    with those of another cluster. So each cluster keeps a name for its port: a socket's, which is no file. The kernel
    lets one have it at a time, and takes it back when that one ends, however it ends. As with ports themselves, another
    address is another name, and who listens on all addresses keeps all others away.

    Raises:
        ClusterError: another cluster keeps it. Of two that begin in the same moment, on all addresses and on one, both
            may hear that.
    """
    with ExitStack() as kept:
        if sys.platform == "linux":
            _keep(kept, host, port)
        yield


def _keep(kept: ExitStack, host: str, port: int) -> None:
    whole = f"ferry-port-{port}"
    own = {whole if address in _ALL else f"{whole}-{address}" for address in _addresses(host)}
    for name in own:
        try:
            kept.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0{name}")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _taken(port, "--port") from error
    others = _kept(whole) - own
    if whole in others or (others and whole in own):
        raise _taken(port, "--port")


def _addresses(host: str) -> set[str]:
    """Those that `host` stands for; itself where nobody knows it, which is for who listens there to say."""
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return {host}


def _kept(whole: str) -> set[str]:
    """The names that are kept of a port: `whole`, and those of single addresses."""
    try:
        lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    names = {line.rpartition(" @")[2] for line in lines}
    return {name for name in names if name == whole or name.startswith(f"{whole}-")}


class Chosen:
    """Ports that the flags of one cluster choose."""

    def __init__(self) -> None:
        self._options: dict[int, str] = {}
        """What each is chosen by."""

    def following(self, host: str, first: int, count: int, option: str, *, others: str = "127.0.0.1") -> list[int]:
        """`first` and the `count - 1` ports after it, all free.

        Args:
            host: where the first of them is listened on.
            option: the flag that chooses `first`, for the error.
            others: where those after it are listened on.

        Raises:
            ClusterError: one is taken, chosen by another flag, or does not exist.
        """
        ports = list(range(first, first + count))
        if ports[-1] > 65535:
            raise ClusterError(f"{count} ports from {first} on do not exist; choose a lower {option}")
        for port in ports:
            if port in self._options:
                raise ClusterError(f"port {port} is chosen twice, by {self._options[port]} and by {option}; change one")
        _all_free(host, others, ports, option)
        self._options |= dict.fromkeys(ports, option)
        return ports


def _all_free(host: str, others: str, ports: list[int], option: str) -> None:
    for index, port in enumerate(ports):
        at = host if index == 0 else others
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
