"""HTTP proxies that the environment names."""

from __future__ import annotations

from ferry.transport import NO_PROXY, channel_options, internal_service_config


def test_none_lies_between_services() -> None:
    assert NO_PROXY in channel_options("gateway", internal_service_config("ferry.v1.Ensembler"))
    assert NO_PROXY not in channel_options("ferry-client")
