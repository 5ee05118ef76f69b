"""What is refused at the edge, and by which field."""

import math

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import ensembler_pb2
from tests.gateway.fakes import Counted, detail, jpeg

HUGE_PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    + (65000).to_bytes(4, "big") * 2
    + b"\x08\x02\x00\x00\x00"
    + b"\x90\x2e\x5d\x0b"
)

CASES = [
    ("no bytes", b"", {}, "image", "image_bytes"),
    ("too many bytes", b"\xff" * 2000, {}, "image", "image_bytes"),
    ("no image", b"not an image", {}, "image", "image_header"),
    ("only the magic", b"\xff\xd8\xff\xe0", {}, "image", "image_header"),
    ("65,000 x 65,000", HUGE_PNG, {}, "image", "image_header"),
    ("over the pixel limit", jpeg(size=(120, 110)), {}, "image", "image_header"),
    ("too many faces", jpeg(), {"max_faces": 257}, "options.max_faces", "options"),
    ("absurdly many faces", jpeg(), {"max_faces": 2**32 - 1}, "options.max_faces", "options"),
    ("score below 0", jpeg(), {"min_detection_score": -0.1}, "options.min_detection_score", "options"),
    ("score above 1", jpeg(), {"min_detection_score": 1.5}, "options.min_detection_score", "options"),
    ("score NaN", jpeg(), {"min_detection_score": math.nan}, "options.min_detection_score", "options"),
    ("score infinite", jpeg(), {"min_detection_score": math.inf}, "options.min_detection_score", "options"),
    ("negative size", jpeg(), {"min_face_size": -1}, "options.min_face_size", "options"),
    ("huge size", jpeg(), {"min_face_size": 65537}, "options.min_face_size", "options"),
    ("size NaN", jpeg(), {"min_face_size": math.nan}, "options.min_face_size", "options"),
    ("size infinite", jpeg(), {"min_face_size": -math.inf}, "options.min_face_size", "options"),
    ("unknown vote", jpeg(), {"vote": 99}, "options.vote", "options"),
    ("negative vote", jpeg(), {"vote": -1}, "options.vote", "options"),
]


@pytest.mark.parametrize(("image", "options", "field", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
async def test_refused(ensembler, start_gateway, image, options, field, reason):
    gateway = await start_gateway(max_image_bytes=1999, max_megapixels=0.01)
    rejected = Counted("ferry_rejected_total", {"reason": reason})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(image, options=ensembler_pb2.RecognizeOptions(**options))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violation = detail(caught.value, error_details_pb2.BadRequest).field_violations[0]
    assert violation.field == field
    assert violation.description
    assert rejected() == 1
    assert not ensembler.requests


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_faces": 256, "min_detection_score": 1.0, "min_face_size": 65536, "vote": 2},
        {"max_faces": 1, "min_detection_score": 0.0, "test_time_augmentation": True, "vote": 1},
    ],
)
async def test_admitted(ensembler, gateway, options):
    await gateway.recognize(jpeg(), options=ensembler_pb2.RecognizeOptions(**options))
    assert len(ensembler.requests) == 1


async def test_options_are_checked_before_a_kept_answer_is_given(gateway):
    await gateway.recognize(jpeg())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.recognize(jpeg(), options=ensembler_pb2.RecognizeOptions(vote=7))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
