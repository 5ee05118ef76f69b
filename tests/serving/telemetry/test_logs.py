"""What a line of the log holds, and what it must not."""

from __future__ import annotations

import json
import logging
import sys

from serving.telemetry.logs import Formatter


def _formatted(error: BaseException) -> dict[str, str]:
    try:
        try:
            raise KeyError("the caller's inner secret")
        except KeyError as inner:
            raise error from inner
    except BaseException:
        record = logging.LogRecord(
            "gateway", logging.ERROR, __file__, 1, "unexpected in %s", ("Recognize",), sys.exc_info()
        )
    line: dict[str, str] = json.loads(Formatter(["levelname", "message"]).format(record))
    return line


def test_an_exception_is_logged_by_kind_and_place_without_its_message() -> None:
    line = _formatted(ValueError("the caller's secret"))
    assert line["message"] == "unexpected in Recognize"
    assert "ValueError" in line["exc_info"]
    assert "KeyError" in line["exc_info"]
    assert "_formatted" in line["exc_info"]
    assert "raise error from inner" in line["exc_info"]
    assert "the caller's secret" not in json.dumps(line)


def test_causes_that_run_in_a_circle_end() -> None:
    one, two = ValueError(), TypeError()
    one.__cause__, two.__cause__ = two, one
    text = Formatter().formatException((ValueError, one, None))
    assert 2 <= text.count("Error") <= 20
