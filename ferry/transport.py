"""How a gRPC channel to a Ferry service is made: name resolution, balancing, keepalive, retries, sizes.

Used by the public client and by every service that calls another one.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata that holds an error's google.rpc.Status."""
NOT_READY = "REPLICA_NOT_READY"
"""Reason of the google.rpc.ErrorInfo in an error of a replica that loads or stops, and has not begun."""
OWN_END = ("Locally cancelled", "Channel closed")
"""How gRPC begins to say that the caller itself has ended a call, or all of them."""
LOST_KEY = "x-ferry-lost"
"""Metadata of a call: how many replicas were lost while they worked on the request, and may have died of it, a decimal
number."""
SILENT = "ping timeout"
"""How gRPC says that a connection is silent; that of a process that ended is closed by its system."""
IMAGE_BYTES_KEY = "x-ferry-image-bytes"
"""Metadata of a call: bytes of its image, a decimal number. A gateway that takes no image of that size says so at once;
without it, gRPC ends a message that is too large by its own limit, as RESOURCE_EXHAUSTED."""
MAX_MESSAGE_BYTES = 64 << 20
"""Largest message in either direction: a batch of images, or the crops of 256 faces."""
PING_SECONDS = 0.4
"""Between two pings of a connection on which nothing comes while a call is open."""
LEAST_PING_PATIENCE, PING_PATIENCE = 0.5, 1.0
"""Seconds for the answer to a ping, least and where nothing else is said: a connection may be full of what is sent."""
_PING_SHARE = 0.25
"""Of the seconds that callers wait."""

_PORT = re.compile(r".:([0-9]{1,5})$")
_WEB = re.compile(r"(https?|grpcs?)://", re.IGNORECASE)
_SCHEMES = ("ipv4:", "ipv6:", "unix:", "unix-abstract:", "dns:///")

_SCHEME = re.compile(r"^(ipv4|ipv6|dns):")
NO_PROXY: tuple[str, int | str] = ("grpc.enable_http_proxy", 0)
"""Option of a channel: gRPC takes a proxy from `http_proxy` and its like, for whatever it calls."""

_BALANCED: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
_WEIGHTED: dict[str, object] = {
    "loadBalancingConfig": [
        {
            "weighted_round_robin": {
                "blackoutPeriod": "0s",
                "weightExpirationPeriod": "10s",
                "weightUpdatePeriod": "0.2s",
            }
        },
        {"round_robin": {}},
    ]
}
"""Shares by what replicas report (serving.rpc.load_report): a new one has an equal share until its first answer, and so
has one that nothing was heard of for ten seconds. What was reported outlives the connection, which is renewed often."""


def public_service_config() -> str:
    """gRPC's service config for a cluster's callers: every gateway in turn, without a retry policy. gRPC would not know
    a gateway that was lost with the call from one that refused it, and keeps no message above 256 KiB to send it again;
    ferry.client.calls does both."""
    return _compact(_BALANCED)


def internal_service_config(health_service: str) -> str:
    """gRPC's service config between services: every replica in turn that says SERVING, slow ones more rarely; without a
    retry policy, since serving.rpc.upstream knows better what may be sent again.

    Args:
        health_service: full name of the gRPC service whose health counts, such as `ferry.v1.Detector`. A server without
            grpc.health.v1 counts as healthy.
    """
    return _compact(_WEIGHTED | {"healthCheckConfig": {"serviceName": health_service}})


def _compact(config: dict[str, object]) -> str:
    return json.dumps(config, separators=(",", ":"))


def channel_options(
    user_agent: str, config: str | None = None, *, ping_patience: float = PING_PATIENCE
) -> list[tuple[str, int | str]]:
    """Options for `grpc.insecure_channel` and its siblings, sync and aio.

    Args:
        user_agent: who calls.
        config: the service config; None: public_service_config().
        ping_patience: seconds for the answer to a ping.

    A replica that hangs without closing its connection is found by a ping without an answer (after 0.4 s and
    `ping_patience` at most), and one that does not complete a connection within a second; a busy one has that second to
    greet many callers at once. A new replica is found because servers bound the age of connections and names are
    resolved anew at most once a second.
    """
    return [
        ("grpc.service_config", config or public_service_config()),
        ("grpc.enable_retries", 1),
        ("grpc.primary_user_agent", user_agent),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", int(PING_SECONDS * 1000)),
        ("grpc.keepalive_timeout_ms", int(ping_patience * 1000)),
        ("grpc.http2.ping_timeout_ms", int(ping_patience * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        # gRPC's probes of the bandwidth are pings, too, and each begins the time anew after which one is sent that has
        # to be answered: every third server that hung was found after 1.4 s, and not within 0.9.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Despite its name, what a connection has to come about in: TCP, TLS and HTTP/2's first frame.
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # Own subchannels: two clients in one process must not share a connection, nor its failures.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def local_options(address: str) -> list[tuple[str, int | str]]:
    """More options where all of `address` is this machine: no HTTP proxy that the environment names lies on the way."""
    hosts = [part.rpartition(":")[0].rpartition("/")[2].strip(" []") for part in _SCHEME.sub("", address).split(",")]
    return [NO_PROXY] if all(map(_is_here, hosts)) else []


def _is_here(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def ping_patience(timeout: float) -> float:
    """Seconds for the answer to a ping, where callers wait `timeout` seconds for theirs: who waits a second has not a
    second and a half to learn that a gateway hangs, and who waits long may have much to send over a slow line."""
    return min(max(LEAST_PING_PATIENCE, _PING_SHARE * timeout), PING_PATIENCE)


def target(address: str) -> str:
    """The gRPC target for `address`, over whose every address calls are balanced.

    Args:
        address: `host:port` (every replica behind the name), several `ip:port` separated by commas (replicas on one
            machine), or a target with its scheme, which passes unchanged.

    Raises:
        ValueError: the address of a web page, no port from 1 to 65535, or a list that holds a host name, or both IPv4
            and IPv6.
    """
    web = _WEB.match(address)
    if web is not None:
        tls = " and certificates (tls, --tls-ca)" if web[1].lower() == "https" else ""
        raise ValueError(f"must be host:port{tls}, without {web[1]}://: calls go over gRPC, not {address!r}")
    if "://" in address or address.startswith(_SCHEMES):
        return address
    if "," not in address:
        port = _PORT.search(address)
        if port is None or not 1 <= int(port[1]) <= 65535:
            raise ValueError(f"must be host:port with a port from 1 to 65535, not {address!r}")
        return f"dns:///{address}"
    parts = [part.strip().replace("localhost:", "127.0.0.1:") for part in address.split(",")]
    try:
        versions = {ip_address(part.rpartition(":")[0].strip("[]")).version for part in parts}
    except ValueError:
        versions = set()
    if len(versions) != 1:
        raise ValueError(f"a list of addresses is ip:port,ip:port with IPs of one kind, not {address!r}")
    return f"ipv{versions.pop()}:{','.join(parts)}"
