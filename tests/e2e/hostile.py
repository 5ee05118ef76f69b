"""Requests that are broken or meant to hurt, and what each must be told. One table, read by test_hostile."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from PIL import Image

from ferry.v1 import (
    classifier_pb2,
    classifier_pb2_grpc,
    detector_pb2,
    detector_pb2_grpc,
    ensembler_pb2,
    ensembler_pb2_grpc,
    gateway_pb2,
    gateway_pb2_grpc,
    types_pb2,
)
from tests.e2e.conftest import SAMPLES
from tests.serving.images import files

Code = grpc.StatusCode
MB = 1 << 20
NAN, INFINITY = float("nan"), float("inf")
PHOTO = SAMPLES["eileen-collins"].read_bytes()
SMALL = files.encode(Image.fromarray(files.photo(160, 120)), "JPEG")


@dataclass(frozen=True, slots=True)
class Case:
    """One call.

    Attributes:
        service: process that is called.
        method: of its stub.
        request: the message, or raw bytes that no message is.
        code: the status expected; OK: it must be answered.
        field: the field that BadRequest names; empty: none is named.
        says: part of the message.
        metadata: sent along.
        timeout: seconds the caller allows.
    """

    service: str
    method: str
    request: Any
    code: grpc.StatusCode
    field: str = ""
    says: str = ""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    timeout: float = 30.0


STUBS: dict[str, Any] = {
    "gateway": gateway_pb2_grpc.ExpressionRecognitionStub,
    "ensembler": ensembler_pb2_grpc.EnsemblerStub,
    "detector": detector_pb2_grpc.DetectorStub,
    "classifier-arcface": classifier_pb2_grpc.ClassifierStub,
}


def image(data: bytes, says: str = "", code: grpc.StatusCode = Code.INVALID_ARGUMENT) -> Case:
    """An image sent to the gateway, past the cache."""
    request = gateway_pb2.RecognizeRequest(image=data, bypass_cache=True)
    return Case("gateway", "Recognize", request, code, "image" if code is Code.INVALID_ARGUMENT else "", says)


def options(field_: str, **values: Any) -> Case:
    request = gateway_pb2.RecognizeRequest(image=SMALL, options=ensembler_pb2.RecognizeOptions(**values))
    return Case("gateway", "Recognize", request, Code.INVALID_ARGUMENT, f"options.{field_}")


def detect(field_: str, **values: Any) -> Case:
    request = detector_pb2.DetectRequest(**({"image": SMALL} | values))
    return Case("detector", "Detect", request, Code.INVALID_ARGUMENT, field_)


def classify(field_: str, crops: types_pb2.Tensor) -> Case:
    request = classifier_pb2.ClassifyRequest(crops=crops)
    return Case("classifier-arcface", "Classify", request, Code.INVALID_ARGUMENT, field_)


def tensor(*shape: int, data: bytes | None = None) -> types_pb2.Tensor:
    content = bytes(int(np.prod(shape))) if data is None else data
    return types_pb2.Tensor(data_type=types_pb2.DATA_TYPE_UINT8, shape=shape, data=content)


def batch(*requests: gateway_pb2.RecognizeRequest) -> gateway_pb2.RecognizeBatchRequest:
    return gateway_pb2.RecognizeBatchRequest(requests=requests)


def plain(metadata: tuple[tuple[str, str | bytes], ...], code: grpc.StatusCode) -> Case:
    return Case("gateway", "Recognize", gateway_pb2.RecognizeRequest(image=SMALL), code, metadata=metadata)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.jpg", bytes(20 * MB))
    return buffer.getvalue()


def animated(format_: str, frames: int) -> bytes:
    pictures = [Image.new("RGB", (64, 64), (i, 255 - i, 90)) for i in range(frames)]
    return files.encode(pictures[0], format_, save_all=True, append_images=pictures[1:])


def noise(size: int) -> bytes:
    return np.random.default_rng(0).bytes(size)


IMAGES = {
    "zero bytes": image(b"", "empty"),
    "one byte": image(b"\xff"),
    "text": image(b"hello, I am a photo"),
    "10 MiB of noise": image(noise(10 * MB)),
    "10 MiB of zeros": image(bytes(10 * MB)),
    "more than 10 MiB": image(noise(10 * MB + 1), "more than"),
    "30 MiB behind a good photo": image(PHOTO + bytes(30 * MB), "larger than max", Code.RESOURCE_EXHAUSTED),
    "a photo cut to a hundred bytes": image(PHOTO[:100]),
    "a photo cut in half": image(PHOTO[: len(PHOTO) // 2], "truncated"),
    "a photo without its beginning": image(PHOTO[100:]),
    "a photo with the magic of a PNG": image(b"\x89PNG\r\n\x1a\n" + PHOTO[8:]),
    "a PNG with the magic of a JPEG": image(b"\xff\xd8\xff\xe0" + files.encode(Image.new("RGB", (9, 9)), "PNG")[4:]),
    "a PNG with a wrong checksum": image(files.png_header(64, 64)[:29] + b"\0\0\0\0" + files.png_header(64, 64)[33:]),
    "PDF": image(b"%PDF-1.7\n" + noise(1000)),
    "SVG": image(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"),
    "EPS": image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n"),
    "PPM": image(b"P6 99999 99999 255\n"),
    "ZIP": image(zipped()),
    "65,000 x 65,000 PNG": image(files.png_header(65_000, 65_000), "65000 x 65000"),
    "65,000 x 65,000 JPEG": image(files.jpeg_header(65_000, 65_000), "65000 x 65000"),
    "65,000 x 65,000 GIF": image(files.gif_header(65_000, 65_000), "65000 x 65000"),
    "65,000 x 65,000 GIF frame": image(files.gif_header(9, 9, (65_000, 65_000)), "65000 x 65000"),
    "65,000 x 65,000 BMP": image(files.bmp_header(65_000, 65_000), "65000 x 65000"),
    "65,000 x 65,000 TIFF": image(files.tiff(files.tiff_tags(65_000, 65_000)), "65000 x 65000"),
    "65,000 x 65,000 WebP": image(files.webp_header(65_000, 65_000), "65000 x 65000"),
    "16,384 x 16,384 lossless WebP": image(files.webp_header(16_384, 16_384, b"VP8L"), "16384 x 16384"),
    "PNG of no pixels": image(files.png_header(0, 0)),
    "PNG of 2^31 columns": image(files.png_header(0x7FFFFFFF, 1), "megapixels"),
    "zip-bomb PNG of 100 megapixels": image(files.png_bomb(10_000, 10_000), "megapixels"),
    "zip-bomb PNG text, which is left out": image(files.png_text_bomb(200 * MB), code=Code.OK),
    "two million GIF comments": image(files.with_gif_comments(9 * MB // 5), "blocks"),
    "two million JPEG segments": image(files.with_jpeg_segments(b"\xff\xe5\0\x02", 9 * MB // 4), "segments"),
    "nine million JPEG fill bytes": image(files.with_jpeg_segments(b"\xff", 9 * MB), "segments"),
    "a million JPEG EXIF segments": image(files.with_jpeg_segments(b"\xff\xe1\0\x09Exif\0\0a", 900_000), "EXIF"),
    "five thousand JPEG scans": image(files.with_jpeg_scans(5_000), "scans"),
    "eight hundred thousand PNG chunks": image(files.with_png_chunks(800_000), "chunks"),
    "sixty thousand TIFF tags": image(
        files.tiff(files.tiff_tags(9, 9) + [(1000 + i, 4, 1, 0) for i in range(60_000)]), "tags"
    ),
    "TIFF directory beyond the file": image(b"II*\0\xff\xff\xff\xff"),
    "animated GIF": image(animated("GIF", 50), code=Code.OK),
    "animated WebP": image(animated("WEBP", 50), code=Code.OK),
    "animated PNG": image(animated("PNG", 50), code=Code.OK),
    "one pixel": image(files.encode(Image.new("RGB", (1, 1)), "PNG"), code=Code.OK),
    "a line of 30,000 pixels": image(files.encode(Image.new("RGB", (30_000, 1)), "PNG"), code=Code.OK),
    "a column of 30,000 pixels": image(files.encode(Image.new("RGB", (1, 30_000)), "PNG"), code=Code.OK),
    "broken EXIF": image(files.encode(Image.new("RGB", (64, 64)), "PNG", exif=b"Exif\0\0II*\0\xff\xff"), code=Code.OK),
    "a photo with 5 MiB behind it": image(PHOTO + noise(5 * MB), code=Code.OK),
}

OPTIONS = {
    "257 faces": options("max_faces", max_faces=257),
    "four billion faces": options("max_faces", max_faces=0xFFFFFFFF),
    "NaN score": options("min_detection_score", min_detection_score=NAN),
    "negative score": options("min_detection_score", min_detection_score=-1e-6),
    "score above one": options("min_detection_score", min_detection_score=1.01),
    "NaN face size": options("min_face_size", min_face_size=NAN),
    "infinite face size": options("min_face_size", min_face_size=INFINITY),
    "negative face size": options("min_face_size", min_face_size=-1),
    "an unknown vote": options("vote", vote=99),
    "a negative vote": options("vote", vote=-1),
}

BATCHES = {
    "an empty batch": Case("gateway", "RecognizeBatch", batch(), Code.INVALID_ARGUMENT, "requests"),
    "a batch of 257": Case(
        "gateway",
        "RecognizeBatch",
        batch(*[gateway_pb2.RecognizeRequest(image=b"x")] * 257),
        Code.INVALID_ARGUMENT,
        "requests",
    ),
    "a batch of 256 times nothing": Case(
        "gateway", "RecognizeBatch", batch(*[gateway_pb2.RecognizeRequest()] * 256), Code.OK
    ),
}

CALLS = {
    "not a message": Case("gateway", "Recognize", b"\xff\xff\xff\xff", Code.INVALID_ARGUMENT, "request"),
    "a message of 70 MiB": image(bytes(70 * MB), code=Code.RESOURCE_EXHAUSTED),
    "an unknown method": Case("gateway", "RecogniseEverything", b"", Code.UNIMPLEMENTED),
    "a stream with an empty frame": Case("gateway", "RecognizeStream", [gateway_pb2.RecognizeStreamRequest()], Code.OK),
    "a stream whose frames do not rise": Case(
        "gateway", "RecognizeStream", [gateway_pb2.RecognizeStreamRequest()] * 2, Code.INVALID_ARGUMENT, "frame_id"
    ),
    "a job without an image": Case(
        "gateway", "SubmitJob", gateway_pb2.SubmitJobRequest(), Code.INVALID_ARGUMENT, "image"
    ),
    "huge metadata": plain((("x-noise", "n" * 100_000),), Code.RESOURCE_EXHAUSTED),
    "a thousand metadata keys": plain(tuple((f"x-{i}", "n" * 20) for i in range(1000)), Code.RESOURCE_EXHAUSTED),
    "an odd request id": plain((("x-request-id", "../../etc/passwd"),), Code.OK),
    "an odd trace context": plain((("traceparent", "00-zz-zz-99"), ("tracestate", "=" * 500)), Code.OK),
    "binary metadata": plain((("x-request-id-bin", b"\0\xff" * 100),), Code.OK),
    "no time at all": Case(
        "gateway",
        "Recognize",
        gateway_pb2.RecognizeRequest(image=PHOTO, bypass_cache=True),
        Code.DEADLINE_EXCEEDED,
        timeout=0.001,
    ),
}

INNER = {
    "ensembler: no image": Case(
        "ensembler", "Recognize", ensembler_pb2.EnsemblerRecognizeRequest(), Code.INVALID_ARGUMENT, "image"
    ),
    "ensembler: a broken image": Case(
        "ensembler",
        "Recognize",
        ensembler_pb2.EnsemblerRecognizeRequest(image=PHOTO[:5000]),
        Code.INVALID_ARGUMENT,
        "image",
    ),
    "detector: no image": detect("image", image=b""),
    "detector: more than 10 MiB": detect("image", image=bytes(10 * MB + 1)),
    "detector: 65,000 x 65,000": detect("image", image=files.gif_header(65_000, 65_000)),
    "detector: NaN margin": detect("crop_margin", crop_margin=NAN),
    "detector: NaN score": detect("min_score", min_score=NAN),
    "detector: enormous crops": detect("crop_size", crop_size=0xFFFFFFFF),
    "detector: too many large crops": detect("crop_size", crop_size=512, max_faces=256),
    "detector: another model": Case(
        "detector",
        "Detect",
        detector_pb2.DetectRequest(image=SMALL, model_name="../../etc/passwd"),
        Code.NOT_FOUND,
        says="detector 1",
    ),
    "detector: a version of a million digits": Case(
        "detector",
        "Detect",
        detector_pb2.DetectRequest(image=SMALL, model_version="9" * MB),
        Code.INVALID_ARGUMENT,
        field="request",
        says="bytes of text",
    ),
    "detector: a version of sixty thousand digits": Case(
        "detector", "Detect", detector_pb2.DetectRequest(image=SMALL, model_version="9" * 60_000), Code.NOT_FOUND
    ),
    "classifier: no crops": classify("crops.data_type", types_pb2.Tensor()),
    "classifier: unknown type": classify("crops.data_type", types_pb2.Tensor(data_type=42, shape=[1], data=b"x")),  # type: ignore[arg-type]
    "classifier: a shape of 2^64": classify("crops.data", tensor(65_536, 65_536, 65_536, 65_536, data=b"")),
    "classifier: fewer bytes than its shape": classify("crops.data", tensor(1, 64, 64, 3, data=b"x")),
    "classifier: more bytes than its shape": classify("crops.data", tensor(1, 64, 64, 3, data=bytes(MB))),
    "classifier: five axes": classify("crops.shape", tensor(1, 1, 64, 64, 3)),
    "classifier: zero crops": classify("crops", tensor(0, 64, 64, 3)),
    "classifier: 257 crops": classify("crops", tensor(257, 8, 8, 3)),
    "classifier: crops without height": classify("crops", tensor(1, 0, 64, 3)),
    "classifier: another model": Case(
        "classifier-arcface",
        "Classify",
        classifier_pb2.ClassifyRequest(crops=tensor(1, 64, 64, 3), model_name="efficientnet"),
        Code.NOT_FOUND,
        says="arcface 1",
    ),
}

CASES: dict[str, Case] = IMAGES | OPTIONS | BATCHES | CALLS | INNER
