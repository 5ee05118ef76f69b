"""Training, export and publishing of the two expression classifiers, each a step of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from modelkit.data.expressions import REPORTED, DataError, find_parquet, read_expressions
from modelkit.data.photos import read_photos
from modelkit.data.selection import Selection, select
from modelkit.data.tables import write_table
from modelkit.data.votes import crowd_majority, crowd_shares, read_votes, votes_for
from modelkit.judging.drawing import draw_confusion
from modelkit.judging.evaluate import Request, evaluate
from modelkit.judging.metrics import confusion_matrix, expression_metrics, fit_temperature
from modelkit.judging.opinions import classify
from modelkit.networks.architectures import Symmetric
from modelkit.publishing.export import export
from modelkit.publishing.golden import golden_crops
from modelkit.publishing.parity import check_classifier
from modelkit.publishing.publish import PublishError, publish
from modelkit.publishing.record import draw_curves, draw_frontier, training_record
from modelkit.training.heads import Joined, best, frontier
from modelkit.training.manifests import LOGITS, classifier_manifest, input_spec
from modelkit.training.photographed import photographed
from modelkit.training.recipes import RECIPES, Recipe
from modelkit.training.teachers import PublishedTeacher, Teacher, TrainedTeacher
from modelkit.training.trainer import Trainer, answer
from serving.activation import softmax
from serving.disk import write_whole
from serving.expressions import EXPRESSIONS
from serving.models.backends import load_backend
from serving.preprocess import prepare
from serving.repository.repository import ModelRepository, StoredModel

TAUGHT_FILE = "taught.npz"  # what published models say of the training pictures
TEACHERS_FILE = "teachers.json"  # who is asked about every view
START_FILE = "start.json"  # the file with the weights that the run started from
MODEL_FILE, RECORD_FILE, CURVES_FILE, CONFUSION_FILE = "model.onnx", "record.json", "curves.png", "confusion.png"
FRONTIER_FILE = "frontier.png"


@dataclass(frozen=True)
class Run:
    """A training run in its work folder.

    Attributes:
        recipe: every setting.
        data: see `modelkit.data.expressions.find_parquet`.
        folder: `<work dir>/<name>`.
        device: `auto`, `cpu` or `cuda`.
        initial: file to start from, see `modelkit.training.trainer.Trainer`.
        origin: what the record calls that file; its name by default.
    """

    recipe: Recipe
    data: Path
    folder: Path
    device: str = "auto"
    initial: Path | None = None
    origin: str | None = None

    def selection(self) -> Selection:
        """Training data, without near-duplicates of the reported split."""
        return select(self.data, REPORTED, self.folder.parent)

    def trainer(self, selection: Selection, teachers: Sequence[Self | StoredModel] = ()) -> Trainer:
        """The run as its last checkpoint left it.

        Args:
            selection: see `selection`.
            teachers: finished runs and published classifiers that are asked about every view while this one learns.

        Raises:
            DataError: a teacher has not finished, or this run began with others.
        """
        from modelkit.networks.architectures import pick_device

        device = pick_device(self.device)
        if teachers:
            self._remember(teachers)
        train, validation = selection.train, selection.validation
        taught = self._taught()
        probabilities = None if taught is None else taught["probabilities"]
        if probabilities is not None and len(probabilities) != len(train):
            raise DataError(f"{self.folder / TAUGHT_FILE} was made from other data; remove it")
        if self.recipe.photographed:
            if not teachers:
                raise DataError("photographed faces have no label; name a teacher with --teacher or --teacher-run")
            train += photographed(read_photos(find_parquet(self.data, "faces", "train")))
        start = self.start
        trainer = Trainer(
            self.recipe,
            train,
            validation,
            self.folder,
            device,
            initial=start,
            taught=probabilities,
            teachers=[_teacher(each, selection, device) for each in teachers],
        )
        if start is not None:
            write_whole(self.folder / START_FILE, json.dumps(str(start.expanduser().resolve())) + "\n")
        return trainer

    @property
    def start(self) -> Path | None:
        """The file that the run started from, remembered: who exports it or is taught by it need not know.

        Raises:
            DataError: the file is not there any more.
        """
        path = self.folder / START_FILE
        if self.initial is not None or not path.exists():
            return self.initial
        start = Path(json.loads(path.read_text()))
        if not start.exists():
            raise DataError(f"{self.folder.name} started from {start}, which is not there; name it with --init")
        return start

    def as_teacher(self, selection: Selection, device: torch.device) -> TrainedTeacher:
        """What this finished run learnt, to teach another.

        Raises:
            DataError: it has not finished.
        """
        trainer = self.trainer(selection)
        if not trainer.finished:
            raise DataError(f"{self.folder.name} cannot teach before `ferry models train` has finished it")
        network = trainer.averaged_network().to(device, memory_format=torch.channels_last)
        return TrainedTeacher(network, self.recipe.input_size, self.recipe.mean, self.recipe.std)

    @property
    def teacher_runs(self) -> list[str]:
        """Names of the runs that are asked about every view while this one learns."""
        return self._view_teachers()["runs"]

    @property
    def teacher_models(self) -> list[str]:
        """Published models that are asked about every view, with version and digest."""
        return self._view_teachers()["models"]

    def _view_teachers(self) -> dict[str, list[str]]:
        path = self.folder / TEACHERS_FILE
        found: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {"runs": [], "models": []}
        return found

    def _remember(self, teachers: Sequence[Run | StoredModel]) -> None:
        path, wanted = self.folder / TEACHERS_FILE, dict[str, list[str]](runs=[], models=[])
        for each in teachers:
            kind, name = ("runs", each.folder.name) if isinstance(each, Run) else ("models", describe(each))
            wanted[kind].append(name)
        if path.exists() and self._view_teachers() != wanted:
            raise DataError(f"{self.folder} began with other teachers; use another --work-dir or remove it")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(wanted) + "\n")

    def teach(self, selection: Selection, teachers: Sequence[StoredModel]) -> None:
        """Asks published classifiers about every training picture and its mirror image, once for this run."""
        path = self.folder / TAUGHT_FILE
        if path.exists() or not teachers:
            return
        images, threads = selection.train.images, torch.get_num_threads()
        opinions = []
        for teacher in tqdm(teachers, "teachers"):
            symmetric = teacher.manifest.training.get("recipe", {}).get("symmetric")
            views = [images] if symmetric else [images, images[:, :, ::-1]]
            answers = [classify(teacher, view, threads=threads) for view in views]
            opinions.append(np.mean(answers, axis=0, dtype=np.float32))
        names = [describe(teacher) for teacher in teachers]
        write_table(path, {"probabilities": np.mean(opinions, axis=0, dtype=np.float32), "teachers": names})

    @property
    def teachers(self) -> list[str]:
        """What softened this run's labels: models with version and digest, and runs."""
        taught = self._taught()
        models = [] if taught is None else [str(name) for name in taught["teachers"]]
        return [*models, *(f"run {name}" for name in self.teacher_runs), *self.teacher_models]

    def _taught(self) -> dict[str, npt.NDArray[Any]] | None:
        path = self.folder / TAUGHT_FILE
        if not path.exists():
            return None
        with np.load(path) as table:
            return dict(table)


def _teacher(who: Run | StoredModel, selection: Selection, device: torch.device) -> Teacher:
    if isinstance(who, Run):
        return who.as_teacher(selection, device)
    return PublishedTeacher(load_backend(who.file(), threads=torch.get_num_threads()), who.manifest)


def find_run(
    name: str,
    data: Path,
    work_dir: Path,
    *,
    device: str = "auto",
    initial: Path | None = None,
    refined: StoredModel | None = None,
    **changes: Any,
) -> Run:
    """The run of a named recipe.

    Args:
        name: of the recipe.
        data: see `modelkit.data.expressions.find_parquet`.
        work_dir: the run's folder lies in it.
        device: `auto`, `cpu` or `cuda`.
        initial: weights to start from, see `modelkit.training.trainer.Trainer`.
        refined: the published version from which a refinement goes on, instead of `initial`.
        changes: settings that differ from the recipe's; None means unchanged.

    Raises:
        KeyError: no such recipe; the message lists them.
    """
    if name not in RECIPES:
        raise KeyError(f"no recipe makes {name!r}; there are {', '.join(RECIPES)} and, for faces, detector")
    recipe, folder = RECIPES[name], work_dir.expanduser()
    if refined is None:
        return Run(recipe.with_changes(**changes), data, folder / name, device, initial)
    folder /= f"{name}-refined-from-{refined.manifest.version}"
    return Run(recipe.refined.with_changes(**changes), data, folder, device, refined.file(), describe(refined))


def describe(model: StoredModel) -> str:
    """Name, version and the start of the digest, as records have them."""
    return f"{model.manifest.name} {model.manifest.version} ({model.manifest.digest[:12]})"


def export_run(
    run: Run,
    allow_unfinished: bool = False,
    *,
    label_share: float | None = None,
    prior_share: float | None = None,
) -> dict[str, Any]:
    """Writes `model.onnx` and `record.json` into the run's folder; the temperature is fitted on held-back data.

    Args:
        run: a training run.
        allow_unfinished: export the last checkpoint of a run that has not ended.
        label_share, prior_share: how two heads are joined, see `modelkit.training.heads`; what is left open is chosen
            on held-back pictures.

    Raises:
        PublishError: training is not finished, or the network has no two heads to be joined, or not in these shares.
        ExportError: the file does not answer the held-back pictures as the network does.
    """
    selection = run.selection()
    trainer = run.trainer(selection)
    if not (trainer.finished or allow_unfinished):
        step, total = trainer.progress.step, trainer.total_steps
        raise PublishError(f"training stands at step {step} of {total}; finish it, or pass --allow-unfinished")
    path = run.folder / MODEL_FILE
    held_back = selection.validation
    crops = np.repeat(held_back.images[..., None], 3, axis=3)
    network = trainer.averaged_network()
    if run.recipe.symmetric:
        network = Symmetric(network)
    judged, joining = np.ones(len(held_back), bool), {}
    wanted = held_back.labels
    if run.recipe.heads > 1 and held_back.votes is not None and selection.train.votes is not None:
        wanted = crowd_majority(held_back.votes)
        judged = wanted >= 0
        prior = crowd_shares(selection.train.votes).mean(axis=0)
        points = list(frontier(answer(network, crops, run.recipe), wanted, held_back.labels, prior))
        try:
            chosen = best(points, label_share, prior_share)
        except ValueError as error:
            raise PublishError(str(error)) from error
        network = Joined(network, chosen.joint)
        joining = {"joint": chosen.joint.as_record(), "frontier": [point.as_record() for point in points]}
        draw_frontier(points, chosen, run.folder / FRONTIER_FILE)
    elif label_share is not None or prior_share is not None:
        raise PublishError(f"{run.recipe.name} has no two heads that votes and labels taught; there is nothing to join")
    (run.folder / RECORD_FILE).unlink(missing_ok=True)  # of an earlier export, which this file is not
    embedding = export(network, path, run.recipe.input_size, least_half=run.recipe.least_half)
    parity = check_classifier(network.float().cpu().eval(), path, input_spec(run.recipe), list(crops))
    logits = load_backend(path).run(prepare(crops, input_spec(run.recipe)))[LOGITS]
    temperature = fit_temperature(logits[judged], wanted[judged])
    record = {
        **training_record(
            run.recipe, selection, trainer.progress.history, run.origin or (run.start.name if run.start else None)
        ),
        "teachers": run.teachers,
        "step": trainer.progress.step,
        "temperature": temperature,
        "embedding": embedding,
        "parity": parity.record(),
        **joining,
        "held_back": expression_metrics(softmax(logits / temperature)[judged], wanted[judged]),
        "golden": softmax(answer(network, golden_crops(), run.recipe) / temperature).tolist(),
    }
    draw_curves(trainer.progress.history, run.folder / CURVES_FILE)
    write_whole(run.folder / RECORD_FILE, json.dumps(record, indent=1) + "\n")
    return record


def publish_run(run: Run, models_dir: Path, *, below_gate: bool = False, note: str = "") -> Path:
    """Judges the exported model on the reported split and publishes it as the next version.

    Args:
        run: an exported run.
        models_dir: the model repository.
        below_gate: publish even if the accuracy is below the recipe's gate.
        note: what a user of these weights should know beside the figures; kept in manifest and record.

    Raises:
        PublishError: nothing was exported, the accuracy is below the recipe's gate, or another publish runs.
    """
    import tempfile

    if not (run.folder / RECORD_FILE).exists():
        raise PublishError(f"{run.folder} holds no export; run `ferry models export {run.recipe.name}` first")
    record = json.loads((run.folder / RECORD_FILE).read_text()) | {"note": note}
    files = {name: run.folder / name for name in (MODEL_FILE, CURVES_FILE)}
    if "joint" in record:
        files[FRONTIER_FILE] = run.folder / FRONTIER_FILE

    def manifest(version: str, digests: dict[str, str], evaluation: dict[str, Any]) -> Any:
        told = ("data", "recipe", "initial_weights", "teachers", "versions", "seconds", "parity", "joint", "note")
        summary = {key: record[key] for key in told if key in record}
        return classifier_manifest(
            run.recipe,
            version,
            digests,
            temperature=record["temperature"],
            embedding=record["embedding"],
            training=summary,
            evaluation=evaluation,
        )

    with tempfile.TemporaryDirectory() as scratch:
        trial = publish(Path(scratch), run.recipe.name, files, lambda version, digests: manifest(version, digests, {}))
        request = Request(Path(scratch), run.data, [run.recipe.name], REPORTED, cache=run.folder.parent)
        figures = evaluate(request)[0]
        by = "crowd" if "crowd" in figures else "label"
        accuracy = figures.get("crowd", figures)["accuracy"]
        if accuracy < run.recipe.gate and not below_gate:
            raise PublishError(
                f"{run.recipe.name} has accuracy {accuracy:.4f} on {REPORTED} ({by}), below its gate "
                f"{run.recipe.gate}; --below-gate publishes it nevertheless"
            )
        averaged = evaluate(replace(request, tta=True))[0]
        evaluation = {REPORTED: _kept(figures), f"{REPORTED} with test-time augmentation": _kept(averaged)}
        test = read_expressions(run.data, REPORTED)
        stored = ModelRepository(Path(scratch)).open(run.recipe.name, trial.name)
        seen = crowd_majority(votes_for(test.names, read_votes(run.data))) if by == "crowd" else test.labels
        counts = confusion_matrix(classify(stored, test.images[seen >= 0]), seen[seen >= 0])
        record |= {
            "evaluation": evaluation,
            "confusion": {
                "by": by,
                "expressions": [expression.value for expression in EXPRESSIONS],
                "counts": counts[:, : len(EXPRESSIONS)].tolist(),
            },
        }
        (Path(scratch) / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n")
        draw_confusion(counts, f"{run.recipe.name}, {REPORTED}, {by}", Path(scratch) / CONFUSION_FILE)
        files |= {name: Path(scratch) / name for name in (RECORD_FILE, CONFUSION_FILE)}
        return publish(
            models_dir, run.recipe.name, files, lambda version, digests: manifest(version, digests, evaluation)
        )


def _kept(figures: dict[str, Any]) -> dict[str, Any]:
    """What a manifest keeps of an evaluation: against the label and, where there are votes, against the crowd."""
    kept = {key: figures[key] for key in ("n", "accuracy", "macro_f1", "mean_recall", "ece", "per_class")}
    for key in ("crowd", "copy_free"):
        if key in figures:
            kept[key] = {
                k: v for k, v in figures[key].items() if k not in {"by_size", "by_light", "by_turn", "confusion"}
            }
    return kept
