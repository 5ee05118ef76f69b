"""Who is one caller to whoever shares things out."""

from __future__ import annotations

import pytest

from serving.rpc.identity import Identity, Proof
from serving.rpc.senders import owner_of


@pytest.mark.parametrize(
    ("peer", "owner"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("10.0.0.7:4712", "10.0.0.7"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:4711", "10.0.0.7"),
        ("ipv6:%5B2001:db8:0:1::7%5D:4711", "2001:db8:0:1::/64"),
        ("ipv6:[2001:db8:0:1:ffff::8%25eth0]:4711", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::8:4711", "2001:db8:0:2::/64"),
        ("unix:", "unix"),
        ("unknown", ""),
    ],
)
def test_whoever_comes_from_one_machine_is_one_caller(peer: str, owner: str) -> None:
    assert owner_of(None, peer) == owner


def test_a_key_is_one_caller_wherever_it_comes_from() -> None:
    shop = Identity(Proof.API_KEY, "shop")
    assert owner_of(shop, "ipv4:10.0.0.7:1") == owner_of(shop, "ipv4:10.0.0.8:1") != "10.0.0.7"
