"""The detector's limits are checked at start, field by field."""

from __future__ import annotations

import pytest

from services.detector.settings import DetectorSettings
from serving.settings import load


def test_the_budget_for_decoding_is_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRY_DECODE_BUDGET", "524288000")
    assert load(DetectorSettings, []).decode_budget == 500 << 20


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FERRY_DECODE_BUDGET", "40", "must be at least 1048576"),
        ("FERRY_DECODE_BUDGET", "lots", "must be a whole number"),
        ("FERRY_DECODE_BUDGET", str(100 << 20), "less than the 280000000 bytes that a photo of max_megapixels takes"),
        ("FERRY_MAX_WAITING_BYTES", "0", "must be at least 1"),
        ("FERRY_PIXEL_BUDGET", "40", "set decode_budget"),
    ],
)
def test_what_does_not_fit_is_named(
    variable: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        load(DetectorSettings, [])
    said = capsys.readouterr().err
    assert variable in said
    assert says in said


def test_a_smaller_budget_goes_with_smaller_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRY_DECODE_BUDGET", str(100 << 20))
    monkeypatch.setenv("FERRY_MAX_MEGAPIXELS", "12")
    assert load(DetectorSettings, []).max_megapixels == 12
