"""An image is digested once, however many keys come from it."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from ferry.v1 import ensembler_pb2
from gateway.recognize import question
from gateway.recognize.question import Question
from tests.gateway.fakes import eventually, jpeg

Options = ensembler_pb2.RecognizeOptions


def test_keys_tell_images_options_and_pipelines_apart() -> None:
    keys = {
        Question(image, Options(max_faces=faces)).key(fingerprint)
        for image in (b"one", b"other")
        for faces in (0, 3)
        for fingerprint in ("a", "b")
    }
    assert len(keys) == 8
    assert Question(b"one", Options()).key("a") in keys


async def test_a_miss_digests_the_image_once(gateway: Any, monkeypatch: Any) -> None:
    digested: list[int] = []

    def counting(data: bytes) -> Any:
        digested.append(len(data))
        return blake3(data)

    monkeypatch.setattr(question, "blake3", counting)
    await eventually(lambda: gateway.service._router.stable.fingerprint)
    assert not (await gateway.recognize(jpeg())).cached
    assert digested == [len(jpeg())]
    assert (await gateway.recognize(jpeg())).cached
    assert digested == [len(jpeg())] * 2
