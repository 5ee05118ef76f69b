"""Detect, classify in parallel, vote; and what the answer says when a model is missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ferry.v1 import detector_pb2, ensembler_pb2, types_pb2
from services.ensembler.answer import add_faces
from services.ensembler.cascade import Rows, some_crops, spread_out, unsure
from services.ensembler.checks import detector_opinions
from services.ensembler.fan_out import Outcome, ask_all
from services.ensembler.fingerprint import fingerprint
from services.ensembler.models import ClassifierModel, DetectorModel, Judgement
from services.ensembler.recipe import Recipe, Vote
from services.ensembler.vote import Floats, hard_vote, shares, soft_vote
from serving.errors import (
    AwayError,
    InvalidArgumentError,
    LostError,
    RefusedError,
    ServiceError,
    UnavailableError,
)
from serving.rpc import context as request_context
from serving.telemetry import metrics
from serving.tensors import from_tensor

_VOTES = {types_pb2.VOTE_SOFT: Vote.SOFT, types_pb2.VOTE_HARD: Vote.HARD}
_TO_CONTRACT = {vote: value for value, vote in _VOTES.items()}


def _brightness(crops: types_pb2.Tensor) -> list[float]:
    """Of each crop its mean, [0, 1]."""
    found: list[float] = (from_tensor(crops, "crops").mean(axis=(1, 2, 3)) / 255).tolist()
    return found


_BRIEFLY_SECONDS, _BRIEFLY_SHARE = 1.0, 0.3
"""How long a classifier may have been away before answers go without it: as long as it takes to connect anew, and no
more than this share of what a caller has left. Calls that wait for somebody who is away look to a gateway like calls
that wait for each other: were they to wait longer, it would refuse the next ones."""


def _briefly() -> float:
    context = request_context.current.get()
    return _BRIEFLY_SECONDS if context is None else min(_BRIEFLY_SECONDS, _BRIEFLY_SHARE * context.remaining())


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What the models said.

    Attributes:
        judgements: one for each classifier; None where it did not answer, or was not asked.
        opinions: float32 [models, N, 7], the detector's own last; rows of NaN where a model has none.
        share: float32 [models, N], each model's part of the vote.
        asked: bool [classifiers, N], the faces that each was asked about.
    """

    judgements: list[Judgement | None]
    opinions: Floats
    share: Floats
    asked: Rows

    @property
    def complete(self) -> bool:
        """Whether every face has an opinion."""
        return bool((self.share.sum(axis=0) > 0).all())


class Pipeline:
    """The recipe at work."""

    def __init__(self, recipe: Recipe, patience: float) -> None:
        """
        Args:
            recipe: what to do.
            patience: seconds without a replica of a model that there is no answer without, before calls fail.
        """
        self.recipe = recipe
        self._patience = patience
        self.detector = DetectorModel(recipe.detector)
        self.classifiers = [ClassifierModel(entry) for entry in recipe.classifiers]
        self._weights = np.array(recipe.weights, np.float64)
        self._made_by: tuple[str, ...] = ()
        self._known = ""
        """Fingerprint of the models in `_made_by`: it is the same for nearly every answer."""
        for entry in recipe.classifiers:
            # A rate misses the first increment of a series that was not there before.
            metrics.DEGRADED.labels(entry.name)
            if entry.ask_below is not None:
                for result in ("asked", "spared"):
                    metrics.CASCADE_FACES.labels(entry.name, result)

    def connect(self) -> None:
        """Opens the channels; to be called on the event loop."""
        for model in self.models:
            model.connect()

    async def close(self) -> None:
        await asyncio.gather(*(model.close() for model in self.models))

    @property
    def models(self) -> tuple[DetectorModel | ClassifierModel, ...]:
        """The detector, then the classifiers in the recipe's order."""
        return (self.detector, *self.classifiers)

    async def recognize(
        self, image: bytes, options: ensembler_pb2.RecognizeOptions
    ) -> ensembler_pb2.EnsemblerRecognizeResponse:
        """Faces with fused expressions.

        Raises:
            InvalidArgumentError: an unknown vote.
            RefusedError: no replica of the detector takes calls.
            ServiceError: the detector refused or failed, or no model had an opinion on some face.
        """
        vote = self._vote(options.vote)
        started = time.monotonic()
        detected = await self._detect(image, options)
        seen = time.monotonic()
        response = ensembler_pb2.EnsemblerRecognizeResponse(
            image_size=detected.image_size,
            models=[detected.model],
            timings=types_pb2.Timings(
                detector_ms=(seen - started) * 1000,
                decode_ms=detected.decode_ms,
                queue_ms=detected.queue_ms,
                compute_ms=detected.compute_ms,
            ),
        )
        if not detected.detections:
            response.fingerprint = self._fingerprint([None] * len(self.classifiers), detected.model)
            return response
        augment = options.test_time_augmentation or self.recipe.test_time_augmentation
        judged = await self._judge(detected, augment)
        response.timings.classifiers_ms = (time.monotonic() - seen) * 1000
        self._fuse(response, detected, judged, vote)
        return response

    async def _detect(self, image: bytes, options: ensembler_pb2.RecognizeOptions) -> detector_pb2.DetectResponse:
        request = detector_pb2.DetectRequest(
            image=image,
            max_faces=options.max_faces,
            min_score=options.min_detection_score,
            min_face_size=options.min_face_size,
            detail=options.detail,
            crop_size=self.recipe.crop_size,
            crop_margin=self.recipe.crop_margin,
        )
        try:
            return await self.detector.detect(request, self._patience)
        except AwayError as error:
            # Another ensembler may have a way to a detector that this one, new or cut off, has not.
            raise RefusedError(error.message) from error

    async def _judge(self, detected: detector_pb2.DetectResponse, augment: bool) -> _Judged:
        """Every model's opinion. A classifier that is away is waited for only where nobody can stand in for it, and
        so is another replica asked where one was lost with these crops: they may be what it was lost by.

        Raises:
            ServiceError: replicas were lost while they worked on the crops, and no opinion is left.
            UnavailableError: some face has no opinion.
        """
        asked = np.zeros((len(self.classifiers), len(detected.detections)), bool)
        outcomes = await self._ask(detected, augment, asked)
        judged = self._gather(detected, outcomes, asked)
        if not judged.complete:
            silent = [index for index, outcome in enumerate(outcomes) if not isinstance(outcome, Judgement)]
            asked[silent] = True
            again = await ask_all(
                [self.classifiers[index] for index in silent], detected.crops, augment, self._patience, again=True
            )
            for index, outcome in zip(silent, again, strict=True):
                outcomes[index] = outcome
            judged = self._gather(detected, outcomes, asked)
        if judged.complete:
            return judged
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        for error in errors:
            if isinstance(error, ServiceError) and error.suspect:
                raise LostError(error.message)  # not `error`, which this frame holds, and whose traceback would hold it
        reasons = "; ".join(str(error) for error in errors) or "try again in a moment"
        raise UnavailableError(f"no model could judge the faces: {reasons}")

    async def _ask(self, detected: detector_pb2.DetectResponse, augment: bool, asked: Rows) -> list[Outcome | None]:
        """First, at once, whoever is asked about every face; then the others in turn, about what is left unsure.

        Where one that was to judge before did not answer, the next is asked about every face in its place.

        Args:
            detected: faces and crops.
            augment: average over views.
            asked: bool [classifiers, N], to be filled in.

        Returns:
            One outcome for each classifier; None where it was not asked.
        """
        outcomes: list[Outcome | None] = [None] * len(self.classifiers)
        thresholds = [entry.ask_below for entry in self.recipe.classifiers]
        first = [index for index, threshold in enumerate(thresholds) if threshold is None]
        asked[first] = True
        given = await ask_all([self.classifiers[index] for index in first], detected.crops, augment, _briefly())
        for index, outcome in zip(first, given, strict=True):
            outcomes[index] = outcome
        for index, (model, threshold) in enumerate(zip(self.classifiers, thresholds, strict=True)):
            if threshold is None:
                continue
            known = self._gather(detected, outcomes, asked).opinions
            absent = any(isinstance(outcome, Exception) for outcome in outcomes[:index])
            before = [*range(index), len(self.classifiers)]
            rows = unsure(known[before], self._weights[before], threshold) | absent
            asked[index] = rows
            metrics.CASCADE_FACES.labels(model.entry.name, "asked").inc(int(rows.sum()))
            metrics.CASCADE_FACES.labels(model.entry.name, "spared").inc(int((~rows).sum()))
            if rows.any():
                (outcome,) = await ask_all([model], some_crops(detected.crops, rows), augment, _briefly())
                outcomes[index] = spread_out(outcome, rows) if isinstance(outcome, Judgement) else outcome
        return outcomes

    def _gather(
        self, detected: detector_pb2.DetectResponse, outcomes: Sequence[Outcome | None], asked: Rows
    ) -> _Judged:
        judgements = [outcome if isinstance(outcome, Judgement) else None for outcome in outcomes]
        own = detector_opinions(detected.detections)
        silent = np.full_like(own, np.nan)
        opinions = np.stack([*(silent if given is None else given.probabilities for given in judgements), own])
        return _Judged(judgements, opinions, shares(opinions, self._weights), asked)

    def _fuse(
        self,
        response: ensembler_pb2.EnsemblerRecognizeResponse,
        detected: detector_pb2.DetectResponse,
        judged: _Judged,
        vote: Vote,
    ) -> None:
        """Fills in faces, models, timings, degradation and fingerprint."""
        judgements, opinions = judged.judgements, judged.opinions
        versions = [None if given is None else given.model for given in judgements]
        missing: list[list[str]] = [[] for _ in detected.detections]
        for model, given, asked in zip(self.classifiers, judgements, judged.asked, strict=True):
            if given is None and asked.any():
                metrics.DEGRADED.labels(model.entry.name).inc()
                for face in np.flatnonzero(asked):
                    missing[face].append(model.entry.name)
        add_faces(
            response,
            detections=detected.detections,
            fused=(hard_vote if vote is Vote.HARD else soft_vote)(opinions, self._weights),
            opinions=opinions,
            share=judged.share,
            versions=[*versions, detected.model],
            missing=missing,
            brightness=_brightness(detected.crops),
        )
        response.degraded = any(missing)
        response.fingerprint = self._fingerprint(versions, detected.model)
        timings = response.timings
        for given in judgements:
            if given is not None:
                response.models.append(given.model)
                timings.queue_ms = max(timings.queue_ms, given.queue_ms)
                timings.compute_ms = max(timings.compute_ms, given.compute_ms)

    def _vote(self, vote: types_pb2.Vote.ValueType) -> Vote:
        if vote == types_pb2.VOTE_UNSPECIFIED:
            return self.recipe.vote
        try:
            return _VOTES[vote]
        except KeyError:
            raise InvalidArgumentError("options.vote", "must be UNSPECIFIED, SOFT or HARD") from None

    def _fingerprint(
        self, answered: Sequence[types_pb2.ModelVersion | None], detector: types_pb2.ModelVersion | None
    ) -> str:
        """By the versions that made this answer, since replicas differ while a new version is rolled out.

        A classifier that was not asked or did not answer counts as the version heard of last: an answer without
        faces does not depend on it, and a degraded one is never cached, it names the pipeline it falls short of.
        """
        versions = [given or model.model for given, model in zip(answered, self.classifiers, strict=True)]
        versions.append(detector)
        made_by = tuple("" if version is None else f"{version.name}/{version.digest}" for version in versions)
        if made_by != self._made_by:
            self._made_by, self._known = made_by, fingerprint(self.recipe, versions)
        return self._known

    @property
    def _required_model_away(self) -> bool:
        """Whether calls wait for a model without which there is no answer."""
        if self.detector.away:
            return True
        return not self.recipe.detector_weight and all(model.away for model in self.classifiers)

    def describe(self) -> ensembler_pb2.GetPipelineResponse:
        """What stands behind the recipe as far as is known."""
        weights = (self.recipe.detector_weight, *(entry.weight for entry in self.recipe.classifiers))
        return ensembler_pb2.GetPipelineResponse(
            entries=[
                ensembler_pb2.RecipeEntry(
                    model=model.model or types_pb2.ModelVersion(name=model.entry.name),
                    weight=weight,
                    available=model.available,
                    load_failure=model.load_failure,
                )
                for model, weight in zip(self.models, weights, strict=True)
            ],
            fingerprint=self._fingerprint([None] * len(self.classifiers), self.detector.model),
            vote=_TO_CONTRACT[self.recipe.vote],
            required_model_unavailable=self._required_model_away,
        )
