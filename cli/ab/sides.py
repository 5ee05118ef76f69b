"""The observations of one comparison: a new variant and an old one, each as its present pipeline answered."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count

import numpy as np

from cli.ab.records import Records
from cli.ab.series import Row, Series, series
from gateway.experiments.record import Exposure, Pair


class Sides:
    """What speaks for and against a new variant.

    Attributes:
        new, old: names of the variants.
        notes: what a reader has to know of the data, each a sentence.
    """

    def __init__(self, records: Records, new: str, old: str) -> None:
        self.new = new
        self.old = old
        self.notes: list[str] = []
        self._records = records
        self._numbers: dict[str, int] = defaultdict(count().__next__)
        self._pipelines = {name: self._pipeline(name) for name in (old, new)}
        self._begin = max(self._first(name) for name in (old, new))
        if self._pipelines[new] and self._pipelines[new] == self._pipelines[old]:
            self.notes.append(f"{new} and {old} run the same pipeline; what differs is chance, or where they run")

    @property
    def pipeline(self) -> str:
        """Of the new variant, the fingerprint's first digits; empty: nothing was recorded of it."""
        return self._pipelines[self.new]

    def of_computed(self, name: str, value: Callable[[Exposure], float]) -> Series:
        """One observation an answer that a variant computed for a caller of its own.

        The cache gives nothing that is degraded, and it gives it at once: a new variant, of which it has little, would
        look worse for it.
        """
        return series(
            [
                self._row(one, one.time, value(one))
                for one in self._records.exposures.values()
                if self._compared(one, name) and not one.cached
            ]
        )

    def of_images(self, name: str) -> Series:
        """One observation an image that a variant had to compute for a caller of its own: 1 where it did not answer.

        One that is known to be lost is not even asked: another one answers in its place, maybe from the cache, and
        there is no error.
        """
        return series(
            [
                self._row(one, one.time, float(one.variant != name or bool(one.error)))
                for one in self._records.exposures.values()
                if one.assigned == name
                and one.time >= self._begin
                and (one.variant != name or (self._own(one, name) and not one.cached))
            ]
        )

    def of_labels(self, name: str) -> Series:
        """One observation a labelled face of a variant: 1 where it was right."""
        rows: list[Row] = []
        for request_id, faces in self._records.labels.items():
            one = self._records.exposures.get(request_id)
            if one is None or not self._compared(one, name):
                continue
            for index, label in faces.items():
                if index < len(one.faces):
                    right = one.faces[index][0] == label.expression
                    rows.append(self._row(one, label.time, float(right), label.expression))
        return series(rows)

    def of_labelled_pairs(self) -> Series:
        """One observation a labelled face that both answered: 1 where only the new one was right, -1 the other way.

        A label belongs to the exposure of its request id. Callers may use an id again: a pair of another answer has
        other faces, and counts nothing.
        """
        rows: list[Row] = []
        for pair in self._own_pairs():
            exposure = self._records.exposures.get(pair.request_id)
            labels = self._records.labels.get(pair.request_id, {})
            if exposure is None or exposure.caller != pair.caller:
                continue
            for index, original, shadow in pair.matched:
                label = labels.get(index)
                if label is None or exposure.faces[index : index + 1] != (original,):
                    continue
                gain = float(shadow[0] == label.expression) - float(original[0] == label.expression)
                rows.append((label.time, self._numbers[pair.caller], gain, label.expression, 0))
        return series(rows)

    def of_pairs(self) -> Series:
        """One observation a face that both answered: 1 where they agree."""
        return series(
            [
                (pair.time, self._numbers[pair.caller], float(original[0] == shadow[0]), 0, 0)
                for pair in self._own_pairs()
                for _, original, shadow in pair.matched
            ]
        )

    def unmatched(self) -> tuple[int, int]:
        """Faces that only the old one found, and that only the new one found."""
        pairs = list(self._own_pairs())
        return sum(pair.only_original for pair in pairs), sum(pair.only_shadow for pair in pairs)

    def confidence_difference(self) -> float | None:
        """Mean difference of the confidences of new and old in the faces that both answered, -1 to 1."""
        differences = [
            (max(shadow[1:]) - max(original[1:])) / 1000
            for pair in self._own_pairs()
            for _, original, shadow in pair.matched
            if len(original) > 1 and len(shadow) > 1
        ]
        return float(np.mean(differences)) if differences else None

    def _row(self, one: Exposure, time: float, value: float, truth: int = 0) -> Row:
        return time, self._numbers[one.caller], value, truth, self._numbers[one.table]

    def _own(self, one: Exposure, name: str) -> bool:
        return one.assigned == one.variant == name and one.fingerprint == self._pipelines[name]

    def _compared(self, one: Exposure, name: str) -> bool:
        return one.time >= self._begin and self._own(one, name)

    def _first(self, name: str) -> float:
        """When the pipeline of a variant answered one of its own callers for the first time; -inf: never.

        What is from before the younger of two pipelines is not compared: then the hours would be, and the days, and
        what a former pipeline left unanswered, which names none, would count as the present one's.
        """
        return min((one.time for one in self._records.exposures.values() if self._own(one, name)), default=-math.inf)

    def _own_pairs(self) -> Iterator[Pair]:
        for pair in self._records.pairs:
            ours = (pair.fingerprint, pair.shadow_fingerprint) == (self._pipelines[self.old], self._pipelines[self.new])
            if pair.variant == self.old and pair.shadow == self.new and ours:
                yield pair

    def _pipeline(self, name: str) -> str:
        """The newest of a variant; says what that leaves out."""
        seen: dict[str, float] = {}
        first: dict[str, float] = {}
        found = [
            (one.fingerprint, one.time)
            for one in self._records.exposures.values()
            if one.assigned == one.variant == name
        ]
        for pair in self._records.pairs:
            if pair.shadow == name:
                found.append((pair.shadow_fingerprint, pair.time))
            if pair.variant == name:
                found.append((pair.fingerprint, pair.time))
        for fingerprint, time in found:
            seen[fingerprint] = max(seen.get(fingerprint, 0.0), time)
            first[fingerprint] = min(first.get(fingerprint, time), time)
        if not seen:
            return ""
        newest = max(seen, key=lambda fingerprint: seen[fingerprint])
        others = sum(fingerprint != newest for fingerprint, _ in found)
        if others:
            when = datetime.fromtimestamp(first[newest]).astimezone().strftime("%Y-%m-%d %H:%M")
            self.notes.append(
                f"{name} has another pipeline since {when}; {others:,} records of former ones are left out"
            )
        return newest
