"""What makes two requests the same."""

import pytest

from ferry.v1 import ensembler_pb2
from gateway.cache.key import result_key

Options = ensembler_pb2.RecognizeOptions


DIGEST = bytes(range(32))


def key(digest=DIGEST, fingerprint="f", **options):
    return result_key(digest, Options(**options), fingerprint)


def test_the_same_question_has_the_same_key():
    assert key(min_face_size=3) == key(min_face_size=3)
    assert len(key()) == 32


def test_every_option_counts():
    others = {
        "max_faces": 3,
        "min_detection_score": 0.5,
        "min_face_size": 9,
        "detail": 2,
        "test_time_augmentation": True,
        "vote": 1,
    }
    assert set(others) == set(Options.DESCRIPTOR.fields_by_name)
    keys = {key(), *(key(**{name: value}) for name, value in others.items())}
    assert len(keys) == 1 + len(others)


def test_an_option_this_version_does_not_know_counts():
    # Field 100, varint 1.
    newer = Options.FromString(b"\xa0\x06\x01")
    assert result_key(DIGEST, newer, "f") != key()


@pytest.mark.parametrize(
    "other",
    [{"digest": bytes(32)}, {"fingerprint": "g"}, {"digest": b"f" + DIGEST, "fingerprint": ""}],
)
def test_image_and_pipeline_count(other):
    assert key(**other) != key()


def test_the_default_said_aloud_is_the_default():
    options = Options(max_faces=64)
    assert result_key(DIGEST, options, "f") == key()
    assert options.max_faces == 64


def test_the_default_detail_said_or_not_is_the_same() -> None:
    assert key(detail=1) == key() == key(detail=0)
    assert key(detail=1, max_faces=3) == key(max_faces=3)
