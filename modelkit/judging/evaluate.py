"""Judges published models through the code that serves them, one by one and as the soft vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.data.corrections import CORRECTIONS, corrected
from modelkit.data.expressions import REPORTED, DataError, find_parquet
from modelkit.data.photos import read_photos
from modelkit.data.selection import select
from modelkit.data.votes import read_votes, votes_for
from modelkit.judging.copies import LEARNT, copy_free
from modelkit.judging.detection import Detector, evaluate_detector
from modelkit.judging.figures import NO_MAJORITY, Labels, Truth
from modelkit.judging.first_looks import Vote, judge_first_looks
from modelkit.judging.harder import HarderCrops, conditions
from modelkit.judging.opinions import classifies, judge_pictures, vote, vote_weights
from modelkit.judging.pictures import Pictures, spread
from modelkit.judging.sources import judged, read_pictures
from modelkit.judging.turned import turns
from modelkit.judging.whole import Whole, has_faces, read_whole
from services.detector.coarse import FILE as COARSE_FILE
from services.ensembler.recipe import DEFAULT_RECIPE, Recipe, read_recipe
from serving.repository.repository import ModelRepository, StoredModel

HELD_BACK = "held-back"
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Request:
    """What is to be judged, and by what.

    Attributes:
        models_dir: the model repository.
        data: see `modelkit.judging.sources.read_pictures`, or `modelkit.judging.whole.read_whole`.
        names: models (`arcface`, or another version than the one that is served: `arcface:2`, `arcface:latest`) and,
            for the soft vote, `ensemble`, in which the named versions take part; empty: all there are and the vote.
        split: of the pictures, for example `public_test`; `held-back` is the part of train that nothing is learnt from.
        labels: who says what a picture shows.
        limit: pictures, evenly spread over all; None: all.
        whole: pictures are whole photos, in which the detector seeks the faces.
        tta: average the classifiers over `services.classifier.views.VIEWS`.
        threads: of the models' runtime.
        cache: folder for what is found once, such as near-duplicates.
        yunet: its ONNX file, by whose landmarks pictures are told apart by how far the head is turned, and whose finds
            in photos stand beside a detector's figures; None: neither.
        harder: judge as well on the same pictures made harder, see `modelkit.judging.harder` and `harder_photos`.
        corrections: see `modelkit.judging.detection.evaluate_detector`.
        first_looks: pictures on which a detector's first looks are judged, see `modelkit.judging.first_looks`.
    """

    models_dir: Path
    data: Path
    names: Sequence[str] = ()
    split: str = "public_test"
    labels: Labels = Labels.BOTH
    limit: int | None = None
    whole: bool = False
    tta: bool = False
    threads: int = 1
    cache: Path = Path("~/.cache/ferry/training")
    yunet: Path | None = None
    harder: bool = False
    corrections: Path | None = CORRECTIONS
    first_looks: int = 0


def evaluate(request: Request) -> list[dict[str, Any]]:
    """Figures of models and of their soft vote, as they are served unless versions are named.

    Returns:
        One dictionary a model: `model`, `version`, `n`, what `modelkit.judging.figures.Truth.figures` gives, and `data`
        (`split`, or the name of the file or folder that holds the pictures themselves, `labels`, `digest`, `pictures`,
        `left_out`, and the figures of `one_person`). A detector's also holds `recall`, `precision`, `iou` and `n_faces`
        where `data` has photos with boxes. `found` is the share of faces that the detector found: of a detector, and of
        every model where photos are whole. `harder` maps each condition of `modelkit.judging.harder.conditions` to `n`,
        `accuracy` and `mean_recall`, where that was asked for and photos are not whole.

    Raises:
        DataError: what a model needs to be judged is not in `data`.
        NotFoundError: no such model.
        InvalidModelError: a model that must not be served.
        ValueError: the crowd is asked for, and nobody voted.
    """
    repository, recipe, weights = ModelRepository(request.models_dir), read_recipe(DEFAULT_RECIPE), vote_weights()
    known, names = repository.names(), request.names
    voting = not names or ENSEMBLE in names
    chosen = [repository.find(name) for name in names if name != ENSEMBLE] if names else []
    wanted = [model.manifest.name for model in chosen] if names else known
    if len(set(wanted)) != len(wanted):
        raise ValueError("a model is named twice; `ferry models diff` compares two versions")
    voters = [name for name in weights if name in known] if voting else []
    stored = dict(zip(wanted, chosen, strict=False))
    stored |= {name: repository.find(name) for name in [*wanted, *voters] if name not in stored}
    photos = _photos(request.data)
    exam = _exam(request, repository, recipe, needed=photos is None or any(map(classifies, stored.values())))
    reports: list[dict[str, Any]] = []
    opinions: dict[str, npt.NDArray[np.float32]] = {}
    for name, model in stored.items():
        report: dict[str, Any] = {"model": name, "version": model.manifest.version}
        if name in wanted and not classifies(model) and not (exam and exam.whole):
            report |= evaluate_detector(
                model.directory,
                photos,
                None,
                request.threads,
                corrections=request.corrections,
                harder=request.harder,
                limit=request.limit,
                yunet=_yunet(request),
            )
            if request.first_looks:
                if photos is None or exam is None or "coarse" not in report:
                    raise DataError(
                        f"first looks of {name} cannot be judged: that takes photos with boxes, labelled faces, and a "
                        f"{COARSE_FILE} beside the model"
                    )
                labelled = read_photos([photos])
                report["first_looks"] = judge_first_looks(
                    Detector.load(model.directory, request.threads),
                    recipe,
                    _vote_of(repository, weights, request.threads),
                    photos=labelled if request.corrections is None else corrected(labelled, request.corrections),
                    crops=HarderCrops.of(exam.truth.pictures, exam.truth.labels),
                    count=request.first_looks,
                )
        if exam is not None and (classifies(model) or model.manifest.has_expressions):
            opinions[name] = exam.opinions(model, tta=request.tta, threads=request.threads)
            report |= exam.report(opinions[name])
            if not classifies(model):
                report |= {"n_crops": len(exam.truth.pictures), "found": exam.share_found(opinions[name])}
        if name in wanted:
            reports.append(report)
    if voting and exam is not None:
        voters = [name for name in voters if name in opinions]
        if not voters:
            raise DataError(f"no model in {request.models_dir} can vote; publish one first")
        version = ",".join(f"{name}:{stored[name].manifest.version}" for name in voters)
        fused = vote([opinions[name] for name in voters], [weights[name] for name in voters])
        reports.append({"model": ENSEMBLE, "version": version, **exam.report(fused)})
    if request.harder and exam is not None and exam.whole is None:
        _judge_harder(reports, request, exam, {name: stored[name] for name in opinions}, weights)
    return reports


def _vote_of(repository: ModelRepository, weights: Mapping[str, float], threads: int) -> Vote:
    """The soft vote of the classifiers that are served."""
    voters = [model for name, weight in weights.items() if weight and classifies(model := repository.find(name))]

    def fused(crops: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        told = [judge_pictures(model, crops, threads=threads) for model in voters]
        return vote(told, [weights[model.manifest.name] for model in voters])

    return fused


def _judge_harder(
    reports: list[dict[str, Any]],
    request: Request,
    exam: _Exam,
    models: Mapping[str, StoredModel],
    weights: Mapping[str, float],
) -> None:
    """Adds `harder` to the reports of the models, and of their vote if it is among them."""
    crops = HarderCrops.of(exam.truth.pictures, exam.truth.labels)
    found: dict[str, dict[str, Any]] = {report["model"]: {} for report in reports}
    for condition in conditions():
        seen = crops.under(condition)
        told = {
            name: judge_pictures(model, seen, tta=request.tta, threads=request.threads)
            for name, model in models.items()
        }
        voters = [name for name in told if name in weights]
        if ENSEMBLE in found:
            told[ENSEMBLE] = vote([told[name] for name in voters], [weights[name] for name in voters])
        for name, answers in told.items():
            if name in found:
                found[name][condition.name] = crops.figures(answers)
    for report in reports:
        if found[report["model"]]:
            report["harder"] = found[report["model"]]


@dataclass(frozen=True, eq=False)
class _Exam:
    """Pictures, what is true of them, and where faces had to be found first, which were."""

    truth: Truth
    judged: str
    whole: Whole | None

    def opinions(self, model: StoredModel, *, tta: bool, threads: int) -> npt.NDArray[np.float32]:
        pictures = self.truth.pictures
        if self.whole is not None and not classifies(model):
            return self.whole.told
        answers = judge_pictures(model, pictures.crops, tta=tta, threads=threads)
        if self.whole is not None:
            answers[~self.whole.found] = np.nan
        return answers

    def share_found(self, answers: npt.NDArray[np.float32]) -> float:
        return float((np.isfinite(answers).all(axis=1) if self.whole is None else self.whole.found).mean())

    def report(self, answers: npt.NDArray[np.float32]) -> dict[str, Any]:
        pictures = self.truth.pictures
        more = {} if self.whole is None else {"found": self.share_found(answers)}
        person = self.truth.one_person()
        silent = self.truth.labels is Labels.BOTH and person is None
        about = {
            "split": self.judged,
            "labels": self.truth.labels.value,
            "digest": pictures.digest,
            "pictures": len(pictures),
            "left_out": [*pictures.left_out, *([f"the crowd's figures: {NO_MAJORITY}"] if silent else ())],
            "one_person": person,
        }
        return {"n": len(pictures)} | self.truth.figures(answers) | more | {"data": about}


def _exam(request: Request, repository: ModelRepository, recipe: Recipe, *, needed: bool) -> _Exam | None:
    cache = request.cache.expanduser()
    try:
        if request.whole or has_faces(request.data):
            seeker = Detector.load(repository.find(recipe.detector.name).directory, request.threads)
            whole = read_whole(request.data, request.split, seeker, recipe, request.limit)
            truth = Truth.of(whole.pictures, request.labels, None, _turned(request, whole.pictures))
            return _Exam(truth, judged(request.data, request.split), whole)
        if request.split == HELD_BACK:
            pictures = held_back(request.data, cache, request.limit)
        else:
            pictures = read_pictures(request.data, request.split, recipe.crop_size, request.limit)
    except DataError:
        if needed or request.whole:
            raise
        return None
    free = copy_free(pictures, request.data, cache) if request.split not in {HELD_BACK, LEARNT} else None
    name = HELD_BACK if request.split == HELD_BACK else judged(request.data, request.split)
    return _Exam(Truth.of(pictures, request.labels, free, _turned(request, pictures)), name, None)


def _turned(request: Request, pictures: Pictures) -> npt.NDArray[np.float32] | None:
    file = _yunet(request)
    return None if file is None else turns(pictures.crops, file, request.threads)


def _yunet(request: Request) -> Path | None:
    if request.yunet is not None and not request.yunet.is_file():
        raise DataError(f"{request.yunet} is not a file; --yunet wants the ONNX file of that detector")
    return request.yunet


def held_back(data: Path, cache: Path, limit: int | None = None) -> Pictures:
    """The part of train that decides everything and that nothing is learnt from, with its votes.

    Arguments as in `modelkit.data.selection.select` and `modelkit.judging.sources.read_pictures`.
    """
    chosen = select(data, REPORTED, cache).validation
    chosen = chosen.take(np.array(spread(len(chosen), limit), np.intp))
    sizes = np.full(len(chosen), chosen.images.shape[1], np.float32)
    crops = tuple(np.repeat(chosen.images[..., None], 3, axis=3))
    votes = votes_for(chosen.names, read_votes(data))
    return Pictures(crops, chosen.labels, votes, sizes, chosen.names, chosen.digest)


def _photos(data: Path) -> Path | None:
    try:
        return find_parquet(data, "faces", "validation")[0]
    except DataError:
        return None
