"""What the `ferry models` commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cli.models.common import explained, fail, say_next
from serving.repository.manifest import Manifest
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish


@pytest.mark.parametrize("error", [typer.Exit(3), typer.Abort()])
def test_a_command_that_has_ended_itself_says_no_more(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained():
        raise error
    assert caught.value is error
    assert capsys.readouterr().err == ""


def test_what_failed_inside_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), explained():
        fail("no room")
    assert capsys.readouterr().err == "no room\n"


@pytest.mark.parametrize(
    ("manifest", "graph", "says"),
    [
        (classifier_manifest("arcface"), classifier_graph(), "so services serve it"),
        (classifier_manifest("mine"), classifier_graph(), "ferry serve --classifier mine=WEIGHT"),
        (detector_manifest("finder"), detector_graph(), "finder in a recipe"),
        (classifier_manifest("arcface", "2"), classifier_graph(), "next: ferry models promote arcface 2"),
    ],
)
def test_what_comes_next_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], manifest: Manifest, graph: bytes, says: str
) -> None:
    if manifest.version == "2":
        publish(tmp_path, classifier_manifest("arcface"), classifier_graph())
    publish(tmp_path, manifest, graph)
    say_next(tmp_path, manifest.name, manifest.version)
    assert says in capsys.readouterr().out
