"""Figures of judged models, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.table import Table

from cli.models.common import shown
from cli.output import answers

Report = Mapping[str, Any]

ROWS = (
    ("accuracy", "accuracy"),
    ("mean_recall", "mean recall"),
    ("macro_f1", "macro F1"),
    ("ece", "ECE"),
    ("cross_entropy", "cross entropy"),
    ("distribution_ece", "ECE, crowd's shares"),
)
KINDS = (("by_size", "face"), ("by_light", "light"), ("by_turn", "head"))


def print_reports(reports: list[dict[str, Any]]) -> None:
    """Prints what `modelkit.judging.evaluate` returns."""
    voted = [report | report["crowd"] for report in reports if "crowd" in report]
    labelled = [report for report in reports if "accuracy" in report and not _crowd_alone(report)]
    if voted:
        person = voted[0]["data"]["one_person"]
        people = [{"model": "one person", "version": ""} | person] if person else []
        answers.print(_table("the crowd's majority", [*voted, *people]))
        if person:
            answers.print(
                f"entropy of the crowd itself, below which no cross entropy comes: {shown(person['crowd_entropy'])}"
            )
    if labelled:
        answers.print(_table("each picture's label" if voted else "", labelled))
    for report in reports:
        _print_photos(report)
    harder = [report for report in reports if "harder" in report]
    if harder:
        answers.print(_harder_table(harder))
    for about in [report["data"] for report in reports if "data" in report][:1]:
        pictures = "1 picture" if about["pictures"] == 1 else f"{about['pictures']} pictures"
        answers.print(f"{about['split']}: {pictures}, digest {about['digest'][:16]}", highlight=False, markup=False)
        for sentence in about["left_out"]:
            answers.print(f"left out: {sentence}")


def _harder_table(judged: list[Any]) -> Table:
    first = judged[0]["harder"]
    n = next(iter(first.values()))["n"]
    table = Table("", *(report["model"] for report in judged), title=f"{n} faces made harder: accuracy, mean recall")
    for name in first:
        told = [report["harder"][name] for report in judged]
        table.add_row(name, *(f"{shown(each['accuracy'])}, {shown(each['mean_recall'])}" for each in told))
    return table


def _print_photos(report: Report) -> None:
    """What a detector finds in photos."""
    if "recall" in report:
        answers.print(
            f"{report['model']} {report['version']}: recall {report['recall']:.3f}, "
            f"precision {report['precision']:.3f}, average precision {report['average_precision']:.3f} "
            f"at IoU {report['iou']} on {report['n_faces']} faces"
        )
        sizes = ", ".join(f"{shown(recall)} {group}" for group, recall in report["recall_by_size"].items())
        answers.print(f"recall by size of face: {sizes}")
        if report["corrected"]:
            answers.print(f"labels of {report['corrected']} photos corrected; --corrections none takes them as is")
    if "coarse" in report:
        first = report["coarse"]
        answers.print(
            f"first looks at a smaller copy: recall {first['recall']:.3f}, precision {first['precision']:.3f}; "
            f"enough for {first['clear']:.0%} of the photos, {first['pixels']:.0%} of the pixels"
        )
    if report.get("first_looks"):
        _print_first_looks(report["first_looks"])
    if "yunet" in report:
        theirs = report["yunet"]
        answers.print(
            f"YuNet on the same photos: recall {theirs['recall']:.3f} at precision {theirs['precision']:.3f}, "
            f"average precision {theirs['average_precision']:.3f}"
        )
    if "harder_photos" in report:
        answers.print(_photos_table(report))


def _print_first_looks(report: Report) -> None:
    table = Table(
        "looked at",
        "faces found",
        "IoU",
        "accuracy, vote",
        "accuracy, detector",
        title=f"{report['n']} pictures of one face; a first look is enough for {report['clear']:.0%}",
    )
    for name, key in (("closely", "closely"), ("first in a smaller copy", "first")):
        figures = ("found", "iou", "accuracy", "detector_accuracy")
        table.add_row(name, *(shown(report[key][figure]) for figure in figures))
    answers.print(table)


def _photos_table(report: Report) -> Table:
    table = Table("photos", "faces", "recall", "precision", title=f"{report['model']} on photos made harder")
    for name, found in report["harder_photos"].items():
        table.add_row(name, str(found["n_faces"]), shown(found["recall"]), shown(found["precision"]))
    return table


def _crowd_alone(report: Report) -> bool:
    return bool(report.get("data", {}).get("labels") == "crowd")


def _table(title: str, judged: list[Any]) -> Table:
    table = Table("", *(report["model"] for report in judged), title=title or None)

    def add(name: str, value: Callable[[Report], float | None], *, last: bool = False) -> None:
        values = [value(report) for report in judged]
        if any(each is not None for each in values):
            table.add_row(name, *(shown(each) for each in values), end_section=last)

    table.add_row("version", *(report["version"].replace(",", "\n") for report in judged))
    table.add_row("pictures", *(str(report["n"]) for report in judged), end_section=True)
    for key, name in ROWS:
        add(name, lambda report, key=key: report.get(key))  # type: ignore[misc]
        if key in {"accuracy", "mean_recall"}:
            add(f"{name}, copy-free", lambda report, key=key: report.get("copy_free", {}).get(key))  # type: ignore[misc]
    add("faces found", lambda report: report.get("found"))
    table.add_section()
    for expression in judged[0]["per_class"]:
        add(f"recall {expression}", lambda report, name=expression: report["per_class"][name])  # type: ignore[misc]
    for key, noun in KINDS:
        groups = _groups(judged, key)
        if len(groups) > 1:
            table.add_section()
            for group in groups:
                place = (key, group)
                add(f"accuracy, {noun} {group}", lambda report, place=place: _of(report, *place))  # type: ignore[misc]
    return table


def _groups(judged: Iterable[Report], key: str) -> list[str]:
    return list(dict.fromkeys(group for report in judged for group in report.get(key, {})))


def _of(report: Report, key: str, group: str) -> float | None:
    figures = report.get(key, {}).get(group)
    return None if figures is None else figures["accuracy"]
