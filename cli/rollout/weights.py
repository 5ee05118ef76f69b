"""The routing table in the cluster: reads it, changes its weights, writes it back."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

from pydantic import ValidationError

from cli.rollout.errors import RolloutError
from cli.rollout.kubectl import Json, Kubectl
from gateway.routing.table import RoutingTable

CONFIG_MAP, FILE = "routing", "routing.toml"
_HEAD = (
    "# Who is answered by which variant; gateway/routing/table.py describes every field.\n"
    "# Written by `ferry rollout` at {time}; commit these weights, or the next apply brings the\n"
    "# committed ones back.\n"
)


def read_table(kubectl: Kubectl) -> tuple[RoutingTable, str]:
    """The table, and the version of the ConfigMap that holds it.

    Raises:
        RolloutError: there is none, or it is not one that a gateway would use.
    """
    found: Json = kubectl.get("configmap", CONFIG_MAP)
    try:
        table = RoutingTable.model_validate(tomllib.loads(found["data"][FILE]))
    except KeyError:
        raise RolloutError(f"ConfigMap {CONFIG_MAP} has no {FILE}; apply the component canary first") from None
    except (ValidationError, ValueError, RecursionError) as error:
        raise RolloutError(f"{FILE} in ConfigMap {CONFIG_MAP} is no routing table: {error}") from error
    return table, str(found["metadata"]["resourceVersion"])


def with_share(table: RoutingTable, name: str, share: float) -> RoutingTable:
    """The table with `share` of the callers for a variant, exchanged with `stable`; see `RoutingTable.with_share`.

    Args:
        table: the present one.
        name: of a variant, not `stable`.
        share: [0, 1].

    Raises:
        RolloutError: there is no variant of that name, or stable has not so many callers to give.
    """
    if name not in table.shares:
        raise RolloutError(f"there is no variant {name!r}; there are {', '.join(table.shares)}")
    try:
        return table.with_share(name, share)
    except ValueError as error:
        raise RolloutError(str(error)) from error


def write_table(kubectl: Kubectl, table: RoutingTable, version: str) -> None:
    """Puts the table into the cluster, unless somebody else has changed it meanwhile.

    Raises:
        RolloutError: kubectl failed; a conflict is one.
    """
    patch = {"metadata": {"resourceVersion": version}, "data": {FILE: render(table)}}
    kubectl.patch("configmap", CONFIG_MAP, patch, "merge")


def render(table: RoutingTable) -> str:
    """TOML that reads back as `table`. No two are the same bytes: a judge's withdrawal names tables by their bytes, and
    must not count for one that a person sets later."""
    lines = [_HEAD.format(time=datetime.now(UTC).isoformat())]
    if table.salt:
        lines.append(f"salt = {_quoted(table.salt)}\n")
    for entry in table.variants:
        lines += ["[[variants]]", f"name = {_quoted(entry.name)}", f"address = {_quoted(entry.address)}"]
        lines.append(f"weight = {entry.weight}")
        if entry.shadow:
            lines.append(f"shadow = {entry.shadow}")
        lines.append("")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    # A TOML basic string: what JSON would escape, and DEL.
    escaped = "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 0x20 or ord(c) == 0x7F else c for c in text)
    return f'"{escaped}"'
