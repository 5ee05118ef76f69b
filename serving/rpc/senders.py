"""Who sends what is on its way in, and who of them made others wait lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from urllib.parse import unquote

from serving.rpc.identity import Identity

MOST_REMEMBERED = 4096
"""Connections and callers; the one that was slow the longest ago is forgotten first."""
MOST_FAULTS = 64


def owner_of(caller: Identity | None, peer: str) -> str:
    """The caller; of one that nobody knows, the address of its machine: of IPv6 the network of 64 bits, of which one
    machine may have every address.

    Args:
        caller: as far as it is known.
        peer: names the connection, such as `ipv4:10.0.0.7:4711`, or without the kind of address.
    """
    if caller is not None and caller.name:
        return str(caller)
    place = unquote(peer).removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0]
    try:
        address = ip_address(place.strip("[]").partition("%")[0])
    except ValueError:
        return place
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


@dataclass(slots=True, eq=False)
class Message:
    """One that is awaited.

    Attributes:
        peer: names the connection, such as `ipv4:10.0.0.7:4711`.
        caller: whom the call belongs to.
        since: when the wait for a place, or for the message itself, began; by the loop's clock.
        end: until when it may take.
        first: whether it is the first of its call; before later ones a caller may think.
        here: whether all of it has come already, as far as anybody can tell.
        slow: called where it has to give way.
        gone: whether its sender has left, as far as anybody can tell.
    """

    peer: Callable[[], str]
    caller: Identity | None
    since: float
    end: float
    first: bool
    here: Callable[[], bool] | None
    slow: Callable[[], None] | None
    gone: Callable[[], bool] | None = None
    _connection: str | None = None

    @property
    def connection(self) -> str:
        """Asked for only where there is no room: gRPC makes the text anew each time."""
        if self._connection is None:
            self._connection = self.peer()
        return self._connection

    @property
    def owner(self) -> str:
        """See `owner_of`."""
        return owner_of(self.caller, self.connection)


class Faults:
    """Counts messages that had to give way or did not come at all, by connection and by owner; each message that comes
    makes up for one."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def of(self, message: Message) -> tuple[int, int]:
        """Of its connection, then of its owner; fewer is better, and (0, 0) the best."""
        if not self._counts:
            return 0, 0
        return self._counts.get(message.connection, 0), self._counts.get(message.owner, 0)

    def add(self, message: Message) -> None:
        for name in (message.connection, message.owner):
            self._counts[name] = min(self._counts.pop(name, 0) + 1, MOST_FAULTS)
        while len(self._counts) > MOST_REMEMBERED:
            self._counts.popitem(last=False)

    def make_up(self, message: Message) -> None:
        if not self._counts:
            return
        for name in (message.connection, message.owner):
            left = self._counts.get(name, 0) - 1
            if left > 0:
                self._counts[name] = left
            else:
                self._counts.pop(name, None)
