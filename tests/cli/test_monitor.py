"""The tables fit 80 columns, whatever the figures; of one process the port is left out."""

from __future__ import annotations

import pytest

from cli.monitor import render
from serving.telemetry.figures import CallFigures, ClusterFigures, ModelFigures
from tests.printed import printed


@pytest.mark.parametrize("endpoints", [("127.0.0.1:9090",), ("127.0.0.1:9090", "127.0.0.1:9091")])
def test_the_tables_fit_80_columns(endpoints: tuple[str, ...]) -> None:
    calls = [
        CallFigures(e, "ExpressionRecognition", "SubmitRecognition", 1, 1, 1234, 0.25, 1234, 1234) for e in endpoints
    ]
    models = [
        ModelFigures(e, "efficientnet", "12", "onnxruntime", "fp32", 12, 1, 1234, 12.5, 1234, 1234, 1234)
        for e in endpoints
    ]
    shown = printed(render(ClusterFigures(2.0, tuple(calls), tuple(models), 0.5, 100)))
    assert "…" not in shown
    assert shown.count("ExpressionRecognition.SubmitRecognition") == len(endpoints)
    assert shown.count("onnxruntime fp32") == len(endpoints)
    assert ("port" in shown, "9091" in shown) == (len(endpoints) > 1,) * 2
