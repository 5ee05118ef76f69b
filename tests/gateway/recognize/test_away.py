"""A gateway hears that something is away from `stable` alone: others can be asked for by name, by anybody."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from ferry.v1 import gateway_pb2
from gateway.recognize.recognizer import Recognizer
from gateway.routing.hints import FORCED, NO_HINTS
from gateway.routing.router import Choice
from serving.errors import InvalidArgumentError, ServiceError, UnavailableError


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("stable", UnavailableError("no detector"), True),
        ("stable", InvalidArgumentError("image", "is none"), False),
        ("canary", UnavailableError("no ensembler"), False),
    ],
)
async def test_who_is_away_is_told_by_stable(name: str, error: ServiceError, told: bool) -> None:
    variant = MagicMock(fingerprint="", recognize=AsyncMock(side_effect=error))
    variant.name = name
    variant.__enter__.return_value = variant
    variant.__exit__.return_value = False
    router = Mock(choose=Mock(return_value=Choice(variant, ())))
    away = Mock()
    recognizer = Recognizer(Mock(check_header=AsyncMock()), router, None, 1.0, away=away)
    with pytest.raises(type(error)):
        await recognizer.recognize(gateway_pb2.RecognizeRequest(image=b"x"), replace(NO_HINTS, assigned=FORCED))
    assert away.called is told
