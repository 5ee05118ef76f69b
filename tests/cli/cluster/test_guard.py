"""What `ferry serve` says of the options that callers need."""

from __future__ import annotations

import pytest

from cli.cluster.guard import Guard


@pytest.mark.parametrize(
    ("set_", "ferry", "curl"),
    [
        ({}, "", ""),
        ({"TLS_CERT": "tls.crt"}, " --tls-ca FILE", " --cacert FILE"),
        (
            {"TLS_CERT": "tls.crt", "TLS_CA": "ca.crt"},
            " --tls-ca ca.crt --tls-cert FILE --tls-key FILE",
            " --cacert ca.crt --cert FILE --key FILE",
        ),
        ({"API_KEYS": "keys"}, " --api-key KEY", " -H 'Authorization: Bearer KEY'"),
    ],
)
def test_what_callers_need(monkeypatch: pytest.MonkeyPatch, set_: dict[str, str], ferry: str, curl: str) -> None:
    for name in ("TLS_CERT", "TLS_CA", "API_KEYS"):
        monkeypatch.delenv(f"FERRY_{name}", raising=False)
    for name, value in set_.items():
        monkeypatch.setenv(f"FERRY_{name}", value)
    guard = Guard.of_environment()
    assert (guard.ferry, guard.curl) == (ferry, curl)
    assert guard.open == (not set_)
    assert guard.scheme == ("https" if "TLS_CERT" in set_ else "http")
