"""What `ferry serve` says once its cluster runs: where everything is, which models serve, and who does not answer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from cli.cluster import Cluster, Endpoint
from cli.cluster.guard import Guard
from cli.output import answers, errors, print_json
from ferry.client import ClusterStatus
from ferry.client.results import VariantStatus
from gateway.routing.table import STABLE, RoutingTable
from serving.config_file import ConfigFileError, read_config

_IN_PROCESS = "local:ensembler"
"""The ensembler of the gateway's own process, in a routing file."""


def announce(cluster: Cluster, status: ClusterStatus | None, guard: Guard, *, as_json: bool) -> None:
    """Tells it as a table, or as JSON; what does not answer goes to standard error.

    Args:
        cluster: one that runs.
        status: what its gateway says; None: it is not known.
        guard: what callers need.
        as_json: for programs.
    """
    variants = {variant.name: variant for variant in (status.variants if status else ())}
    models = variants[STABLE].models if STABLE in variants else ()
    if as_json:
        record = {
            "address": cluster.address,
            "http": cluster.http,
            "endpoints": [asdict(endpoint) for endpoint in cluster.endpoints],
            "models": [asdict(model) for model in models],
            "log_dir": str(cluster.log_dir),
        }
        print_json(record)
    else:
        answers.print(_table(cluster.endpoints, {model.name: f"{model.name} {model.version}" for model in models}))
        for line in _places(cluster):
            answers.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in _silent(variants, cluster.endpoints):
        errors.print(line, highlight=False, markup=False, soft_wrap=True)
    if not as_json:
        for line in _invitations(cluster, guard, answers_calls=not _is_silent(variants.get(STABLE))):
            answers.print(line, highlight=False, markup=False, soft_wrap=True)


def _places(cluster: Cluster) -> Iterator[str]:
    yield f"logs in {cluster.log_dir}"
    for endpoint in cluster.endpoints:
        if endpoint.name == "valkey":
            yield f"Redis: {endpoint.address} (--redis-url of ferry ab report and ferry rollout judge)"


def _invitations(cluster: Cluster, guard: Guard, *, answers_calls: bool) -> Iterator[str]:
    if answers_calls:
        yield f"Ferry answers at {cluster.address}. Try: ferry predict PHOTO --address {cluster.address}{guard.ferry}"
    if cluster.http:
        page = f"HTTP at {guard.scheme}://{cluster.http}/ (a page for browsers)."
        call = f" Try: curl{guard.curl} -F image=@PHOTO {guard.scheme}://{cluster.http}/api/predict"
        yield page + (call if answers_calls else "")


def _is_silent(variant: VariantStatus | None) -> bool:
    """Whether a variant gives no answers at all; one that lacks a classifier answers without it."""
    return variant is not None and not variant.healthy and all(model.available for model in variant.models)


def _silent(variants: Mapping[str, VariantStatus], endpoints: Sequence[Endpoint]) -> Iterator[str]:
    file = os.environ.get("FERRY_ROUTING_FILE", "")
    addresses = _addresses(file)
    for name, variant in variants.items():
        where = f" at {addresses[name]}" if name in addresses else ""
        if variant.healthy:
            continue
        if not _is_silent(variant):
            yield f"variant {name}{where}: {variant.reason}"
        elif name != STABLE:
            yield f"variant {name} does not answer yet{where}"
        else:
            yield f"Ferry does not answer yet: nobody is there for variant {name}{where}" + _remedy(file, endpoints)


def _remedy(file: str, endpoints: Sequence[Endpoint]) -> str:
    """What to write into the routing file, so that the cluster's own ensembler is `stable`."""
    if not file:
        return ""
    own = ",".join(endpoint.address for endpoint in endpoints if endpoint.name.startswith("ensembler"))
    if own:
        return f'; the ensembler of this cluster is at {own}: write address = "{own}" in {file}'
    return (
        f'; the ensembler of this cluster is in the gateway\'s process: write address = "{_IN_PROCESS}" in {file}, '
        "or start `ferry serve` with --processes 0, where it has a port"
    )


def _addresses(file: str) -> dict[str, str]:
    """By variant; nothing without a routing file, or with one that has become unreadable."""
    try:
        table = read_config(Path(file), RoutingTable) if file else None
    except ConfigFileError:
        return {}
    return {} if table is None else {entry.name: entry.address for entry in table.variants}


def _table(endpoints: Sequence[Endpoint], versions: Mapping[str, str]) -> Table:
    """Where each process is; a column that would be empty is left out."""
    models = [next((text for name, text in versions.items() if name in end.name), "") for end in endpoints]
    # Addresses are copied from it: those that do not fit in a narrow terminal go on in the next line.
    columns = (
        (Column("service", no_wrap=True), [end.name for end in endpoints]),
        (Column("address", overflow="fold"), [end.address for end in endpoints]),
        (Column("metrics", overflow="fold"), [end.metrics for end in endpoints]),
        (Column("pid", no_wrap=True), [str(end.pid) for end in endpoints]),
        (Column("model"), models),
    )
    kept = [(column, cells) for column, cells in columns if any(cells)]
    table = Table(*(column for column, _ in kept), box=SIMPLE_HEAD, padding=(0, 0))
    for row in zip(*(cells for _, cells in kept), strict=True):
        table.add_row(*row)
    return table
