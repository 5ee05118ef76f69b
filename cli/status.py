"""`ferry status`: what a cluster serves at present."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

import typer
from rich.filesize import decimal
from rich.table import Table

from cli.connect import ApiKeyOption, TlsCaOption, TlsCertOption, TlsKeyOption, credentials
from cli.output import DEFAULT_ADDRESS, AddressOption, JsonOption, answers, print_json
from ferry.client import ClusterStatus
from ferry.client.results import PipelineModel


def status(
    address: AddressOption = DEFAULT_ADDRESS,
    *,
    as_json: JsonOption = False,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Show variants, models, versions and the cache of a running cluster.

    Exits with 1 when no cluster answers, or when a model of a variant is missing.
    """
    with credentials(tls_ca, tls_cert, tls_key, api_key).client(address, timeout=5) as client:
        answer = client.status()
    if as_json:
        variants = [{**asdict(variant), "reason": variant.reason} for variant in answer.variants]
        print_json({"address": address, **asdict(answer), "variants": variants})
    else:
        _show(address, answer)
    if not all(variant.healthy for variant in answer.variants):
        raise typer.Exit(1)


def _state(model: PipelineModel) -> str:
    state = "available" if model.available else "does not answer"
    failure = model.load_failure
    if failure is None:
        return state
    again = max(0, math.ceil(failure.retry_time - time.time()))
    return f"{state}; version {failure.version} cannot be loaded (tried {failure.attempts} x, again in {again} s)"


def _show(address: str, answer: ClusterStatus) -> None:
    answers.print(f"Ferry {answer.ferry_version} at {address}, up {answer.uptime:.0f} s", highlight=False)
    for variant in answer.variants:
        health = "healthy" if variant.healthy else "NOT healthy"
        line = f"variant {variant.name}: {health}, {variant.traffic_share:.1%} of the traffic"
        reason = f"; {variant.reason}" if variant.reason else ""
        answers.print(line + reason, highlight=False, soft_wrap=True)
        if not variant.models:
            continue
        table = Table("model", "version", "weight", "state", "digest")
        for model in variant.models:
            table.add_row(model.name, model.version or "?", f"{model.weight:g}", _state(model), model.digest[:12])
        answers.print(table)
    cache = answer.cache
    if not cache.enabled:
        answers.print("cache: off")
        return
    redis = "Redis answers" if cache.redis_available else "without Redis"
    entries = "1 answer" if cache.memory_entries == 1 else f"{cache.memory_entries} answers"
    size = decimal(cache.memory_bytes, separator=" ")
    answers.print(f"cache: {entries}, {size} in memory; {redis}", highlight=False)
