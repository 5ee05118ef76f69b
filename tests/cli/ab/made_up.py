"""Records as gateways would have written them, made up from known accuracies."""

from __future__ import annotations

import random
from dataclasses import replace

from cli.ab.records import Label, Records
from gateway.experiments.record import Exposure, Pair

START = 1_700_000_000.0
FACE = (0, 0, 0, 900, 100, 0, 0)
TABLE = {"t": {"stable": 0.5, "canary": 0.5}}


def face(expression: int) -> tuple[int, ...]:
    return (expression, *FACE)


def exposure(variant: str, caller: str, time: float, expression: int = 4, **changes) -> Exposure:
    made = Exposure(
        time=time,
        assigned=variant,
        variant=variant,
        fingerprint=variant[:1] * 16,
        table="t",
        caller=caller,
        cached=False,
        degraded=False,
        milliseconds=50.0,
        error="",
        faces=(face(expression),),
    )
    return replace(made, **changes)


def experiment(
    accuracy: dict[str, float], labels: int = 2000, per_caller: int = 1, seed: int = 1, milliseconds=None, errors=None
) -> Records:
    """Callers by turns to each variant; every answer has one face and a label."""
    rng = random.Random(seed)
    exposures, given = {}, {}
    names = list(accuracy)
    for i in range(labels):
        caller = i // per_caller
        name = names[caller % len(names)]
        truth = 1 + i % 7
        said = truth if rng.random() < accuracy[name] else 1 + truth % 7
        at = START + i
        failed = errors is not None and rng.random() < errors[name]
        took = 50.0 if milliseconds is None else rng.gauss(milliseconds[name], 5.0)
        one = exposure(name, f"c{caller}", at, said, milliseconds=took, error="INTERNAL" if failed else "")
        exposures[f"id{i}"] = replace(one, variant="stable") if failed else one
        given[f"id{i}"] = {0: Label(truth, at)}
    return Records(exposures, given, [], TABLE)


def cached(hits: dict[str, float], degraded: float, errors: dict[str, float], images: int, seed: int = 1) -> Records:
    """Callers by turns to each variant; of what a variant computes, shares are degraded, or fail and go to stable.

    What stable answers in the place of another comes from its cache as often as its own.
    """
    rng = random.Random(seed)
    exposures = {}
    for i in range(images):
        name = list(hits)[i % len(hits)]
        hit = rng.random() < hits[name]
        failed = not hit and rng.random() < errors[name]
        if failed:
            by = "" if name == "stable" else "stable"
            again = bool(by) and rng.random() < hits[by]
            nothing = exposure(name, f"c{i}", START + i, error="INTERNAL", cached=again, faces=())
            exposures[f"id{i}"] = replace(nothing, variant=by, fingerprint=by[:1] * 16)
        else:
            part = not hit and rng.random() < degraded
            exposures[f"id{i}"] = exposure(name, f"c{i}", START + i, cached=hit, degraded=part)
    return Records(exposures, {}, [], TABLE)


def shadowed(accuracy: dict[str, float], faces: int, seed: int = 1) -> Records:
    """Stable answers everybody; canary gets a copy of each."""
    rng = random.Random(seed)
    exposures, given, pairs = {}, {}, []
    for i in range(faces):
        truth, draw = 1 + i % 7, rng.random()
        said = {name: truth if draw < share else 1 + truth % 7 for name, share in accuracy.items()}
        at = START + i
        exposures[f"id{i}"] = exposure("stable", f"c{i}", at, said["stable"], table="alone")
        given[f"id{i}"] = {0: Label(truth, at)}
        pairs.append(
            Pair(
                time=at,
                request_id=f"id{i}",
                variant="stable",
                fingerprint="s" * 16,
                milliseconds=50.0,
                shadow="canary",
                shadow_fingerprint="c" * 16,
                shadow_milliseconds=60.0,
                caller=f"c{i}",
                matched=((0, face(said["stable"]), face(said["canary"])),),
                only_original=0,
                only_shadow=0,
            )
        )
    return Records(exposures, given, pairs, {"alone": {"stable": 1.0, "canary": 0.0}})
