"""Learns which versions stand behind the recipe before, and between, requests.

The models have no call that only says what they are, so each is asked about a tiny grey picture. A model that has
answered something lately, and answered well, is left alone; behind an idle ensembler, a new version is noticed.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time

from ferry.v1 import detector_pb2, types_pb2
from services.ensembler.checks import NonsenseError
from services.ensembler.models import ClassifierModel, DetectorModel
from services.ensembler.pipeline import Pipeline
from serving.errors import DeadlineError, ServiceError

log = logging.getLogger(__name__)

# A grey PNG, 64 x 64.
_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAK0lEQVR42u3MMREAAAgEoNfkRjeEmwcBqMlNRyAQCAQCgUAgEAgEAsHzYAFAdAEArKmlZAAAAABJRU5ErkJggg=="
)
_SIDE = 64
_CROP = types_pb2.Tensor(
    data_type=types_pb2.DATA_TYPE_UINT8, shape=(1, _SIDE, _SIDE, 3), data=bytes([128]) * (_SIDE * _SIDE * 3)
)
_TIMEOUT_SECONDS = 5.0


async def probe_forever(pipeline: Pipeline, interval: float, stale_after: float) -> None:
    """Asks whoever is unknown, unavailable or silent for `stale_after` seconds, every `interval` seconds."""
    while True:
        try:
            await probe(pipeline, stale_after)
        except Exception as error:
            log.exception("looking for models failed, trying again: %s", error)
        await asyncio.sleep(interval)


async def probe(pipeline: Pipeline, stale_after: float) -> None:
    """One round; a model that does not answer is marked unavailable and raises nothing."""
    limit = time.monotonic() - stale_after
    due = [model for model in pipeline.models if not model.available or model.heard_at < limit]
    await asyncio.gather(*(_ask(model) for model in due))


async def _ask(model: DetectorModel | ClassifierModel) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            if isinstance(model, DetectorModel):
                await model.detect(detector_pb2.DetectRequest(image=_PICTURE), patience=0)
            else:
                await model.classify(_CROP, augment=False, timeout=_TIMEOUT_SECONDS, patience=0)
    except (DeadlineError, TimeoutError):
        # Here the time was enough, so that a model that hangs shows.
        model.lost(DeadlineError(f"no answer to a look within {_TIMEOUT_SECONDS:g} s"))
    except (ServiceError, NonsenseError) as error:
        model.complain(error)  # whether it is lost, the model itself has seen
