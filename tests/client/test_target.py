"""Addresses as gRPC targets."""

from __future__ import annotations

import pytest

from ferry.client import AsyncClient, Client
from ferry.transport import NO_PROXY, local_options, target
from tests.client.conftest import FakeGateway


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("gateway:50051", "dns:///gateway:50051"),
        ("127.0.0.1:1", "dns:///127.0.0.1:1"),
        ("127.0.0.1:1,127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2"),
        ("localhost:1, 127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2"),
        ("[::1]:1,[::1]:2", "ipv6:[::1]:1,[::1]:2"),
        ("unix:/run/ferry.sock", "unix:/run/ferry.sock"),
        ("ipv4:127.0.0.1:1", "ipv4:127.0.0.1:1"),
        ("xds:///gateway", "xds:///gateway"),
    ],
)
def test_target(address: str, expected: str) -> None:
    assert target(address) == expected


@pytest.mark.parametrize("address", ["a:1,b:2", "127.0.0.1:1,[::1]:2", "127.0.0.1:1,"])
def test_a_list_takes_addresses_only(address: str) -> None:
    with pytest.raises(ValueError, match="ip:port"):
        target(address)


@pytest.mark.parametrize(
    "address", ["http://gateway:50051", "https://gateway", "HTTP://gateway:80/", "grpc://gateway:1"]
)
def test_an_address_is_no_web_page(address: str) -> None:
    with pytest.raises(ValueError, match="calls go over gRPC"):
        Client(address)


@pytest.mark.parametrize("driver", [Client, AsyncClient])
@pytest.mark.parametrize("address", ["", "gateway", ":50051", "gateway:", "gateway:0", "gateway:65536", "gateway:http"])
def test_an_address_has_a_host_and_a_port(driver: type[Client | AsyncClient], address: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        driver(address)


def test_a_list_goes_on_without_those_that_are_gone(address: str, gateway: FakeGateway) -> None:
    with Client(f"127.0.0.1:1,{address}") as client:
        for _ in range(5):
            assert client.recognize(b"x").faces
    assert len(gateway.requests) == 5


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("localhost:1", True),
        ("127.0.0.1:1,127.1.2.3:2", True),
        ("[::1]:1", True),
        ("dns:///localhost:1", True),
        ("ipv6:[::1]:1", True),
        ("gateway:1", False),
        ("127.0.0.1:1,10.0.0.1:2", False),
        ("localhost.example.com:1", False),
        ("unix:/run/ferry.sock", False),
    ],
)
def test_on_the_way_to_this_machine_there_is_no_proxy(address: str, here: bool) -> None:
    assert (NO_PROXY in local_options(address)) is here
