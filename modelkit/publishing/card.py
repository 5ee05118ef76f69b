"""Model cards: what a version is, how it came about, how good it is and where it must not be used."""

from __future__ import annotations

from typing import Any

from modelkit.importing.labels import left_out
from serving.expressions import EXPRESSIONS
from serving.repository.manifest import Manifest, Task

LIMITS = (
    "It names the expression that a face shows in one picture. It does not tell what a person feels, thinks or "
    "intends.",
    "The default training data are grey faces of 48 x 48 pixels found by web search, many of them posed, with noisy "
    "labels and an unknown, uneven mix of ages, genders and skin colours. Measure it on your own population before "
    "relying on it.",
    "In the European Union, Article 5(1)(f) of Regulation (EU) 2024/1689 prohibits inferring emotions at the workplace "
    "and in education, except for medical or safety reasons.",
)
SETTINGS = ("imported_from", "sha256", "initial_weights", "epochs", "steps", "batch_size", "learning_rate", "seed")
FIGURES = ("accuracy", "mean_recall", "macro_f1", "ece", "recall", "precision")


def card(manifest: Manifest) -> dict[str, Any]:
    """A version's card as plain values.

    Args:
        manifest: of the version; all that the card says stands there.

    Returns:
        model, version, digest, description, license, task, architecture, input, labels, training (without the course of
        the run), evaluation (figures by split) and limits.
    """
    spec = manifest.input
    training = {key: value for key, value in manifest.training.items() if key not in {"history", "starts"}}
    return {
        "model": manifest.name,
        "version": manifest.version,
        "digest": manifest.digest,
        "description": manifest.description,
        "license": manifest.license or "not stated",
        "task": manifest.task.value,
        "architecture": manifest.architecture,
        "precision": manifest.precision,
        "input": {
            "width": spec.width,
            "height": spec.height,
            "color": spec.color.value,
            "resize": spec.resize,
            "crop_margin": spec.crop_margin,
        },
        "labels": {label.name: label.expression.value if label.expression else None for label in manifest.labels},
        "training": training,
        "evaluation": by_split(manifest),
        "limits": list(LIMITS),
    }


def markdown(manifest: Manifest) -> str:
    """The card for people."""
    content = card(manifest)
    spec = content["input"]
    lines = [
        f"# {content['model']} {content['version']}",
        "",
        content["description"] or "No description.",
        "",
        f"- Task: {content['task']}; architecture: {content['architecture']}; weights: {content['precision']}",
        f"- Input: {spec['width']} x {spec['height']} px, {spec['color']}, resized {spec['resize']}",
        f"- Licence: {content['license']}",
        f"- Digest: `{content['digest']}`",
        "",
        "## Labels",
        "",
        ", ".join(_label(name, expression) for name, expression in content["labels"].items())
        + "."
        + left_out(manifest.labels),
        "",
        "## How it came about",
        "",
        *(_training(content["training"]) or ["The manifest does not say."]),
        "",
        "## How good it is",
        "",
        *(_figures(content["evaluation"]) or ["Nobody has judged this version."]),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in content["limits"]),
    ]
    return "\n".join(lines) + "\n"


def by_split(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Figures by what they were taken on; a detector's stand in the manifest without a name."""
    evaluation = manifest.evaluation
    if manifest.task is Task.DETECT:
        plain = {key: value for key, value in evaluation.items() if key != "variants"}
        return {"faces/validation and public_test": plain} if plain else {}
    return {split: figures for split, figures in evaluation.items() if split != "variants"}


def _label(name: str, expression: str | None) -> str:
    return name if name == expression else f"{name} (read as {expression or 'nothing'})"


def _training(training: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    data = training.get("data")
    if isinstance(data, dict):
        lines.append(
            f"- Data: {data.get('train')} of {data.get('read')} pictures; {data.get('near_duplicates_of_evaluation')} "
            f"near-duplicates of the evaluation split and {data.get('conflicting_labels')} with contradicting labels "
            f"were left out, {data.get('held_back')} held back"
        )
    recipe = training.get("recipe")
    plain = training | recipe if isinstance(recipe, dict) else training
    lines += [f"- {key.replace('_', ' ')}: {plain[key]}" for key in SETTINGS if plain.get(key) is not None]
    if training.get("note"):
        lines.append(f"- Note: {training['note']}")
    return lines


def _figures(evaluation: dict[str, dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for split, figures in evaluation.items():
        crowd = figures.get("crowd")
        if isinstance(crowd, dict):
            lines += _judged(f"On {split}, what most of a crowd saw", crowd)
        lines += _judged(f"On {split}, the label of each picture" if crowd else f"On {split}", figures)
    if lines:
        lines.append("The lower row is recall by expression.")
    return lines


def _judged(on_what: str, figures: dict[str, Any]) -> list[str]:
    shown = [f"{key.replace('_', ' ')} {figures[key]:.3f}" for key in FIGURES if isinstance(figures.get(key), float)]
    lines = [f"{on_what} ({figures.get('n_crops') or figures.get('n')} pictures): {', '.join(shown)}.", ""]
    recalls = figures.get("per_class")
    if isinstance(recalls, dict):
        names = [each.value for each in EXPRESSIONS if each.value in recalls]
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(_share(recalls[name]) for name in names) + " |", ""]
    return lines


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
