"""What a manifest may say of a model's input."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from serving.repository.manifest import Encoding, Manifest
from tests.tiny_models import classifier_manifest, detector_manifest


def test_a_manifest_from_before_frames_and_bytes_keeps_its_digest() -> None:
    manifest = classifier_manifest()
    old = manifest.model_dump(mode="json")
    del old["input"]["encoding"], old["input"]["sides"]
    assert Manifest.model_validate(old).digest == manifest.digest
    assert manifest.digest == "d36eb4547737523b2be7b449a5d5a8d134ef37696bba98373fa2bbf22336493c"


@pytest.mark.parametrize("change", [{"encoding": Encoding.BYTES}, {"sides": (32,)}])
def test_what_goes_in_decides_answers(change: dict[str, object]) -> None:
    manifest = detector_manifest()
    other = detector_manifest(input=manifest.input.model_copy(update=change))
    assert other.digest != manifest.digest


def test_frames_are_the_full_one_and_those_with_a_shorter_side() -> None:
    spec = detector_manifest().input.model_copy(update={"sides": (32, 48, 64, 96)})
    assert spec.frames == ((64, 64), (64, 32), (64, 48), (32, 64), (48, 64))
    assert spec.row_shapes[1] == (3, 32, 64)
    assert spec.model_copy(update={"encoding": Encoding.BYTES}).row_shapes[1] == (32, 64, 3)


def test_a_classifier_has_one_frame() -> None:
    spec = classifier_manifest().input
    with pytest.raises(ValidationError, match="belongs to detectors"):
        classifier_manifest(input=spec.model_copy(update={"sides": (8,)}))
