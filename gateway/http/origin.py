"""Whether a request comes from a page of somebody else, who has the browser of whoever may call make it.

Where callers need a key, such a page has none to send. Where they need none, a page anywhere could post pictures to a
gateway on the visitor's own machine or network (a form needs nobody's leave), or, by a name of its own that it lets
point there (DNS rebinding), read the answers.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]+){3}|\[?::1\]?")
_PORT: Final = re.compile(r":[0-9]*$")


class Origins:
    """What a gateway asks of browsers."""

    def __init__(self, host: str, names: Collection[str], *, keys: bool) -> None:
        """
        Args:
            host: listened on.
            names: that people reach it by, besides this machine's own.
            keys: whether callers need one.
        """
        self._open = not keys
        self._local = self._open and _LOOPBACK.fullmatch(host) is not None
        own = socket.gethostname().lower()
        self._names = frozenset({own, own.partition(".")[0], *(name.lower() for name in names)})

    def refusal(self, headers: Mapping[str, str]) -> str:
        """Why a request is not to be served, in words; empty where it is.

        Args:
            headers: of the request, names in lower case.
        """
        if not self._open:
            return ""
        host = headers.get("host", "")
        if self._local and not self._known(host):
            return f"this gateway is not known as {host[:100]!r}; FERRY_HTTP_HOSTS names more hosts"
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return "pages of other hosts may not ask here"
        origin = headers.get("origin")
        # A proxy may rewrite the host; a page cannot send the header by which it says so without being allowed to.
        if origin is not None and not same(origin, {host, headers.get("x-forwarded-host", host)}):
            return "pages of other hosts may not ask here"
        return ""

    def _known(self, host: str) -> bool:
        """Whether `host` is an address, this machine or one of the names, and none that others let point here."""
        name = _PORT.sub("", host).lower() if not host.endswith("]") else host
        # Nobody can let a name without a dot point anywhere but on the network that it is asked on.
        if "." not in name and ":" not in name:
            return True
        if name.rpartition(".")[2] == "localhost" or name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def same(origin: str, hosts: Collection[str]) -> bool:
    """Whether a page of `origin`, as its browser says, is one of `hosts`."""
    try:
        return urlsplit(origin).netloc.lower() in {host.lower() for host in hosts}
    except ValueError:
        return False
