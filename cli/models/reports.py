"""Figures of judged models, as a table."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from cli.output import answers


def print_reports(reports: list[dict[str, Any]]) -> None:
    """Prints what `modelkit.judging.evaluate` returns."""
    judged = [report for report in reports if "accuracy" in report]
    table = Table("", *(report["model"] for report in judged))
    if judged:
        table.add_row("version", *(report["version"].replace(",", "\n") for report in judged))
        table.add_row("crops", *(str(report.get("n_crops") or report["n"]) for report in judged))
        for key, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("ece", "ECE")):
            table.add_row(title, *(_share(report[key]) for report in judged), end_section=key == "ece")
        for expression in judged[0]["per_class"]:
            table.add_row(f"recall {expression}", *(_share(report["per_class"][expression]) for report in judged))
        answers.print(table)
    for report in reports:
        if "recall" in report:
            answers.print(
                f"{report['model']} {report['version']}: recall {report['recall']:.3f}, "
                f"precision {report['precision']:.3f} at IoU {report['iou']} on {report['n_faces']} faces"
            )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
