"""Chooses the variant that answers, and keeps the variants of the routing table connected while it changes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from prometheus_client import Counter

from gateway.routing.assignment import Assignment
from gateway.routing.copied import Original
from gateway.routing.hints import FORCED, KEYED, RANDOM, VARIANT_KEY, Hints
from gateway.routing.shadow import Shadow
from gateway.routing.table import STABLE, RoutingTable
from gateway.routing.variant import Variant
from serving.errors import NotFoundError
from serving.telemetry import metrics

log = logging.getLogger(__name__)

Connect = Callable[[str, float, str], Variant]
"""Makes a variant from its name, share and address."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who answers an image.

    Attributes:
        variant: that one.
        counters: of images given to a variant, and of those for which it stands in for another one.
    """

    variant: Variant
    counters: tuple[Counter, ...]

    def count(self) -> None:
        """The image is given to it."""
        for counter in self.counters:
            counter.inc()


class Router:
    """The variants of the table in use. One event loop."""

    def __init__(self, table: RoutingTable, connect: Connect, shadow: Shadow) -> None:
        """
        Args:
            table: the first one.
            connect: see Connect.
            shadow: sends copies.
        """
        self._connect = connect
        self._shadow = shadow
        self._retiring: set[asyncio.Task[None]] = set()
        self._variants: dict[str, Variant] = {}
        self._use(table, {entry.name: self._connected(table, entry.name) for entry in table.variants})

    @property
    def variants(self) -> tuple[Variant, ...]:
        """`stable` first."""
        return (self.stable, *(variant for name, variant in self._variants.items() if name != STABLE))

    @property
    def decodes(self) -> bool:
        """Whether a variant's models are in this process."""
        return any(variant.is_here for variant in self.variants)

    @property
    def stable(self) -> Variant:
        return self._variants[STABLE]

    async def start(self) -> None:
        """Looks once at every variant; one that does not answer yet is no error."""
        await asyncio.gather(*(variant.start() for variant in self._variants.values()))

    async def stop(self) -> None:
        """Called when no call is in flight any more."""
        await self._shadow.stop()
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await asyncio.gather(*(variant.stop() for variant in self._variants.values()))

    def choose(self, hints: Hints) -> Choice:
        """The variant to ask for an image; hold it (`with variant:`) before anything else is awaited, and count the
        choice when the image is given to it.

        Where the one that it falls to is known not to answer, and `stable` is not, it is `stable`; a variant that is
        asked for by name is never replaced.

        Raises:
            NotFoundError: there is none of the name asked for.
        """
        if hints.assigned == FORCED:
            named = self._variants.get(hints.variant)
            if named is None:
                raise NotFoundError(f"{VARIANT_KEY}: there is no such variant; there are {', '.join(self._variants)}")
            return Choice(named, (self._exposed[named.name, FORCED],))
        name = self._assignment.of_key(hints.key) if hints.key else self._assignment.at(random.random())
        given = self._exposed[name, hints.assigned]
        variant = self._variants[name]
        if variant.lost and name != STABLE and not self.stable.lost:
            return Choice(self.stable, (given, metrics.VARIANT_FALLBACKS.labels(name)))
        return Choice(variant, (given,))

    def assigned(self, hints: Hints) -> str:
        """The name of the variant that a caller with a key falls to, whoever answers; empty without a key."""
        return self._assignment.of_key(hints.key) if hints.key else ""

    @property
    def shares(self) -> Mapping[str, float]:
        """Of the callers, by the table in use."""
        return self._shares

    @property
    def has_shadows(self) -> bool:
        """Whether any variant wants copies."""
        return bool(self._shadows)

    def copy(self, original: Original) -> None:
        """Sends copies of an image, that a variant has just computed an answer to, to others that want their share."""
        for name, share in self._shadows.items():
            if name != original.answered.variant and random.random() < share:
                self._shadow.send(self._variants[name], original)

    async def apply(self, table: RoutingTable) -> None:
        """Puts a table into use without a break: what is new is connected first, what is gone ends its calls first.

        Raises:
            Exception: something new cannot be connected; the former table stays in use.
        """
        former = self._variants
        kept = {e.name for e in table.variants if e.name in former and e.address == former[e.name].address}
        new = {entry.name: self._connected(table, entry.name) for entry in table.variants if entry.name not in kept}
        await _start(new.values())
        gone = [variant for name, variant in former.items() if name not in kept]
        for variant in gone:
            variant.leave()
        for variant in new.values():
            variant.show_pipeline()  # again: the one of the same name that has left took it along
        self._use(table, {e.name: former[e.name] if e.name in kept else new[e.name] for e in table.variants})
        for variant in gone:
            task = asyncio.create_task(variant.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        log.info("routing table in use", extra={"shares": {name: round(s, 4) for name, s in table.shares.items()}})

    def _connected(self, table: RoutingTable, name: str) -> Variant:
        (entry,) = (entry for entry in table.variants if entry.name == name)
        return self._connect(name, table.shares[name], entry.address)

    def _use(self, table: RoutingTable, variants: dict[str, Variant]) -> None:
        for name in self._variants.keys() - variants.keys():
            with suppress(KeyError):
                metrics.VARIANT_SHARE.remove(name)
                metrics.VARIANT_HEALTHY.remove(name)
        for name, share in table.shares.items():
            variants[name].traffic_share = share
            metrics.VARIANT_SHARE.labels(name).set(share)
        self._exposed = {
            (name, how): metrics.EXPOSURES.labels(name, how) for name in variants for how in (KEYED, RANDOM, FORCED)
        }
        self._shadows = {entry.name: entry.shadow for entry in table.variants if entry.shadow > 0}
        self._assignment = Assignment(table)
        self._shares = table.shares
        self._variants = variants


async def _start(variants: Collection[Variant]) -> None:
    """All of them, or none."""
    try:
        async with asyncio.TaskGroup() as starting:
            for variant in variants:
                starting.create_task(variant.start())
    except BaseException:
        await asyncio.gather(*(variant.stop() for variant in variants), return_exceptions=True)
        raise
