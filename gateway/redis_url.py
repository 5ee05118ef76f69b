"""The URL of a Redis, checked before anything connects to it. What is wrong with it is said without any part of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

SCHEMES: Final = ("redis://", "rediss://", "unix://")
_ENCODE: Final = "in a user's name and a password, percent-encode all but letters and digits (/ is %2F)"
_HOST: Final = re.compile(r"[\w.:%-]+")
_DATABASE: Final = re.compile(r"[0-9]{1,9}")
_BOOLEAN: Final = re.compile(r"true|false|yes|no|1|0", re.IGNORECASE)
_OPTIONS: Final = ("db", "username", "password")
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")


def redis_url(text: str) -> str:
    """`text`, which names a Redis in the way that redis-py reads it.

    redis-py takes any option as an argument of its own, and passes over much that makes no sense. Of its options only
    those are allowed that say where the Redis is and who asks: all others are Ferry's to choose.

    Raises:
        ValueError: it does not. The message quotes nothing: what reads as a port may be half of a password.
    """
    if not text.startswith(SCHEMES):
        raise ValueError(f"must begin with {' or '.join(SCHEMES)}")
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
    elif parts.path not in {"", "/"} and not _DATABASE.fullmatch(parts.path[1:]):
        raise ValueError(f"must have the number of a database after the host's /, or nothing; {_ENCODE}")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        _check_option(name, value, tls=parts.scheme == "rediss")
    return text


def _check_option(name: str, value: str, *, tls: bool) -> None:
    if name in _TLS_OPTIONS and not tls:
        raise ValueError(f"has the option {name}, which goes with rediss:// only")
    if name not in (*_OPTIONS, *_TLS_OPTIONS):
        raise ValueError(
            f"has an option that is not known here; known are {', '.join(_OPTIONS)} and, with rediss://, "
            f"{', '.join(_TLS_OPTIONS)}; {_ENCODE}"
        )
    if name == "db" and not _DATABASE.fullmatch(value):
        raise ValueError("must have the number of a database as option db")
    if name == "ssl_cert_reqs" and value not in {"none", "optional", "required"}:
        raise ValueError("must have none, optional or required as option ssl_cert_reqs")
    if name == "ssl_check_hostname" and not _BOOLEAN.fullmatch(value):
        raise ValueError("must have true or false as option ssl_check_hostname")
    if name in {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"} and not Path(value).is_file():
        raise ValueError(f"must have a file that is there as option {name}")
