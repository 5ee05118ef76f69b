"""How the commands reach a cluster: certificates and API key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ferry.client import Client, Tls, TlsError
from ferry.client.calls import checked_key

_PANEL = "Clusters with TLS or API keys"

TlsCaOption = Annotated[
    Path | None,
    typer.Option(
        envvar="FERRY_TLS_CA",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="PEM authorities that the cluster's certificate must come from; turns TLS on.",
    ),
]
TlsCertOption = Annotated[
    Path | None,
    typer.Option(
        envvar="FERRY_TLS_CERT", metavar="FILE", rich_help_panel=_PANEL, help="PEM certificate of the caller."
    ),
]
TlsKeyOption = Annotated[
    Path | None, typer.Option(envvar="FERRY_TLS_KEY", metavar="FILE", rich_help_panel=_PANEL, help="Its PEM key.")
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        envvar="FERRY_API_KEY",
        rich_help_panel=_PANEL,
        show_envvar=True,
        help="The caller's key. Better in the variable: others on this machine see flags.",
    ),
]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a cluster may ask a caller for."""

    tls: Tls | None = None
    api_key: str | None = None

    @property
    def given(self) -> bool:
        """Whether there are any: they are for a cluster that runs, not for a temporary one."""
        return self.tls is not None or self.api_key is not None

    def client(self, address: str, timeout: float) -> Client:
        """
        Raises:
            typer.BadParameter: files that do not fit, or an address that is none.
        """
        try:
            return Client(address, timeout=timeout, tls=self.tls, api_key=self.api_key)
        except TlsError as error:
            raise typer.BadParameter(_flags(error)) from error
        except ValueError as error:
            raise typer.BadParameter(f"--address {error}") from error


def credentials(ca: Path | None, cert: Path | None, key: Path | None, api_key: str | None) -> Credentials:
    """From the options.

    Raises:
        typer.BadParameter: one of certificate and key without the other, or an API key that cannot be sent.
    """
    try:
        api_key = checked_key(api_key)
    except ValueError as error:
        raise typer.BadParameter(str(error).replace("api_key", "--api-key (FERRY_API_KEY)")) from error
    try:
        tls = Tls(ca, cert, key) if ca or cert or key else None
    except TlsError as error:
        raise typer.BadParameter(_flags(error)) from error
    return Credentials(tls, api_key)


def _flags(error: TlsError) -> str:
    """What is wrong, with the flags in the place of the fields."""
    return re.sub("(^|given with )tls_(ca|cert|key)", r"\1--tls-\2", str(error))
