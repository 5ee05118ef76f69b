"""The ensembler's recipe for a local cluster."""

from __future__ import annotations

import json

from cli.cluster.settings import ClusterSettings

MODEL_TIMEOUT = 20.0
"""Seconds: the cores of one machine are shared by all models, so a model may take long and still be alive."""


def recipe(settings: ClusterSettings, detector_address: str, classifier_addresses: dict[str, str]) -> str:
    """JSON that `python -m services.ensembler --recipe FILE` reads.

    Args:
        settings: names, weights and vote.
        detector_address: `host:port`, several separated by commas.
        classifier_addresses: the same by name of the classifier.
    """
    return json.dumps(
        {
            "vote": settings.vote,
            "detector_weight": settings.detector_weight,
            "detector": {"name": settings.detector, "address": detector_address, "timeout": MODEL_TIMEOUT},
            "classifiers": [
                {
                    "name": name,
                    "address": classifier_addresses[name],
                    "weight": weight,
                    "timeout": MODEL_TIMEOUT,
                    **({"ask_below": settings.ask_below[name]} if name in settings.ask_below else {}),
                }
                for name, weight in settings.classifiers.items()
            ],
        },
        indent=2,
    )
