"""The URL of a Redis, checked before anything connects to it. What is wrong with it is said without any part of it."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

SCHEMES: Final = ("redis", "rediss", "unix")
_ENCODE: Final = "in a user's name and a password, percent-encode all but letters and digits (/ is %2F)"
_HOST: Final = re.compile(r"[\w.:%-]+")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_BOOLEAN: Final = re.compile(r"true|false|yes|no|1|0", re.IGNORECASE)


def _certificates(text: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, TypeError, ValueError):
        return False
    return True


def _ciphers(text: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(text)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _any(text: str) -> bool:
    return True


_Option: TypeAlias = tuple[str, Callable[[str], object]]
"""What its value is, and whether a text is that."""
_OPTIONS: Final[dict[str, _Option]] = {
    "db": ("the number of a database", _NUMBER.fullmatch),
    "username": ("a name", _any),
    "password": ("a password", _any),
    "client_name": ("ASCII without spaces", re.compile("[!-~]+").fullmatch),
    "health_check_interval": ("a whole number of seconds", _NUMBER.fullmatch),
}
_TCP_OPTIONS: Final[dict[str, _Option]] = {"socket_keepalive": ("true or false", _BOOLEAN.fullmatch)}
_TLS_OPTIONS: Final[dict[str, _Option]] = {
    "ssl_ca_certs": ("a file that is there", os.path.isfile),
    "ssl_ca_path": ("a folder that is there", os.path.isdir),
    "ssl_ca_data": ("PEM certificates, percent-encoded,", _certificates),
    "ssl_certfile": ("a file that is there", os.path.isfile),
    "ssl_keyfile": ("a file that is there", os.path.isfile),
    "ssl_password": ("a password", _any),
    "ssl_cert_reqs": ("none, optional or required", {"none", "optional", "required"}.__contains__),
    "ssl_check_hostname": ("true or false", _BOOLEAN.fullmatch),
    "ssl_min_version": ("771 (TLS 1.2) or 772 (TLS 1.3)", {"771", "772"}.__contains__),
    "ssl_ciphers": ("ciphers of OpenSSL", _ciphers),
}


def redis_url(text: str) -> str:
    """`text`, which names a Redis in the way that redis-py reads it.

    redis-py takes any option as an argument of its own, and passes over much that makes no sense. Of its options only
    those are allowed that say where the Redis is, who asks, and how the connection is kept and kept safe: all others,
    such as times, are Ferry's to choose.

    Raises:
        ValueError: it does not. The message quotes nothing: what reads as a port may be half of a password.
    """
    beginnings = [f"{scheme}://" for scheme in SCHEMES]
    if not text.startswith(tuple(beginnings)):
        raise ValueError(f"must begin with {' or '.join(beginnings)}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"has no host and port that can be read; {_ENCODE}") from None
    if parts.fragment:
        raise ValueError(f"must hold no #; {_ENCODE}")
    if parts.scheme == "unix":
        if host or port is not None or not parts.path.strip("/"):
            raise ValueError(f"must be unix:///path, with three slashes and the path of a socket; {_ENCODE}")
    elif host is None or not _HOST.fullmatch(host):
        raise ValueError(f"names no host; {_ENCODE}")
    elif port == 0:
        raise ValueError("has port 0, on which nothing listens")
    elif parts.path not in {"", "/"} and not _NUMBER.fullmatch(parts.path[1:]):
        raise ValueError(f"must have the number of a database after the host's /, or nothing; {_ENCODE}")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        _check_option(name, value, parts.scheme)
    return text


def _check_option(name: str, value: str, scheme: str) -> None:
    if name in _TLS_OPTIONS and scheme != "rediss":
        raise ValueError(f"has the option {name}, which goes with rediss:// only")
    if name in _TCP_OPTIONS and scheme == "unix":
        raise ValueError(f"has the option {name}, which does not go with unix://")
    option = _OPTIONS.get(name) or _TCP_OPTIONS.get(name) or _TLS_OPTIONS.get(name)
    if option is None:
        raise ValueError(
            f"has an option that is not known here; known are {', '.join((*_OPTIONS, *_TCP_OPTIONS))} and, with "
            f"rediss://, {', '.join(_TLS_OPTIONS)}; {_ENCODE}"
        )
    what, fits = option
    if not fits(value):
        raise ValueError(f"must have {what} as option {name}")
