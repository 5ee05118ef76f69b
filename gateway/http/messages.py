"""From bodies to the messages of the contract: one image as raw bytes, as JSON with base64 or in a form; or many."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import AsyncIterator
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ferry.v1 import gateway_pb2
from gateway.http.body import Body
from gateway.http.forms import parts
from gateway.http.options import Options, body_error
from gateway.http.problems import BodyError
from serving.inference_v2.http_question import MAX_DIGITS

BESIDE_THE_IMAGE: Final = 64 << 10
"""Bytes of a body that are not the image."""
_FORM: Final = "multipart/form-data"
_JSON: Final = "application/json"
_RAW: Final = "application/octet-stream"
LARGE_JSON: Final = 256 << 10
"""Bytes; what is larger is read beside the event loop."""
_MOST_PARTS: Final = 1 << 14
"""Lists, objects, quotes and commas in one JSON: twice what 256 images with all their options have. To read millions
would take seconds, and the list of their faults gigabytes."""
_ALIKE: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"0" * (MAX_DIGITS + 1)
ModelT = TypeVar("ModelT", bound=BaseModel)


class JsonImage(Options):
    """An image in JSON, with its options beside it."""

    image: Annotated[str, Field(min_length=1)] = Field(
        description="The encoded image (JPEG, PNG, WebP, ...) in base64; a data: URL will do."
    )


class JsonImages(BaseModel):
    """Several images in JSON, each with options of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Annotated[list[JsonImage], Field(min_length=1, max_length=256)]


async def one_image(body: Body, options: Options, max_image_bytes: int) -> gateway_pb2.RecognizeRequest:
    """The one image of a body.

    Raises:
        BodyError: there is none, or several, or it cannot be read.
        SenderGoneError: the connection ended.
    """
    check_encoding(body)
    if body.media_type == _FORM:
        image: bytes | None = None
        fields: dict[str, str] = {}
        chunks = body.chunks(max_image_bytes + BESIDE_THE_IMAGE)
        async for part in parts(body.content_type, chunks, max_image_bytes):
            if not part.file:
                fields[part.name] = part.text
            elif image is None:
                image = part.data
            else:
                raise BodyError(400, "is there more than once; /api/predict-batch takes many", "image")
        if image is None:
            raise BodyError(400, "is missing: the form holds no file", "image")
        return _request(image, options.merged(dict(fields)))
    if body.media_type == _JSON:
        found = await _json(body, JsonImage, max_image_bytes)
        return await _decoded(found, options)
    if body.media_type == _RAW or body.media_type.startswith("image/"):
        return _request(await body.read(max_image_bytes), options)
    raise _unsupported(f"an image as such (image/jpeg, ...), {_FORM} or {_JSON}")


async def many_images(
    body: Body, options: Options, max_image_bytes: int
) -> AsyncIterator[gateway_pb2.RecognizeManyRequest]:
    """The images of a body; of a form, each as it comes, with the options in fields before the first file.

    Raises:
        BodyError: as `one_image`.
        SenderGoneError: the connection ended.
    """
    check_encoding(body)
    if body.media_type == _FORM:
        fields: dict[str, str] = {}
        chosen: Options | None = None
        async for part in parts(body.content_type, body.chunks(), max_image_bytes):
            if part.file:
                chosen = chosen or options.merged(dict(fields))
                yield gateway_pb2.RecognizeManyRequest(request=_request(part.data, chosen))
            elif chosen is None:
                fields[part.name] = part.text
            else:
                raise BodyError(400, "must come before the files", part.name)
        return
    if body.media_type == _JSON:
        for item in (await _json(body, JsonImages, max_image_bytes)).images:
            yield gateway_pb2.RecognizeManyRequest(request=await _decoded(item, options))
        return
    raise _unsupported(f"{_FORM} with files, or {_JSON}")


async def _json(body: Body, model: type[ModelT], max_image_bytes: int) -> ModelT:
    data = await body.read(max_image_bytes * 4 // 3 + BESIDE_THE_IMAGE)
    if sum(map(data.count, (b"[", b"{", b'"', b","))) > _MOST_PARTS:
        raise BodyError(400, "is JSON of too many parts")
    try:
        if len(data) < LARGE_JSON:
            return _validated(model, data)
        return await asyncio.to_thread(_validated, model, data)
    except ValidationError as error:
        raise body_error(error) from error


def _validated(model: type[ModelT], data: bytes) -> ModelT:
    """
    Raises:
        BodyError: it holds a number of too many digits.
        ValidationError: it is no such model.
    """
    pieces = data.split(b'"')
    # Every second one is text, which may be base64 of digits alone; but a quote may stand in text, too.
    outside = pieces if b"\\" in data else pieces[::2]
    if any(_LONG_NUMBER in piece.translate(_ALIKE) for piece in outside):
        raise BodyError(400, f"a number in it has more than {MAX_DIGITS} digits")
    return model.model_validate_json(data)


async def _decoded(found: JsonImage, options: Options) -> gateway_pb2.RecognizeRequest:
    text = found.image
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        if len(text) < LARGE_JSON:
            image = binascii.a2b_base64(text, strict_mode=True)
        else:
            image = await asyncio.to_thread(binascii.a2b_base64, text, strict_mode=True)
    except ValueError as error:
        raise BodyError(400, "is no base64", "image") from error
    return _request(image, options.merged(found.model_dump(exclude={"image"}, exclude_unset=True)))


def _request(image: bytes, options: Options) -> gateway_pb2.RecognizeRequest:
    return gateway_pb2.RecognizeRequest(image=image, options=options.to_proto(), bypass_cache=options.bypass_cache)


def check_encoding(body: Body) -> None:
    """
    Raises:
        BodyError: it is compressed.
    """
    if body.encoding not in {"", "identity"}:
        raise BodyError(415, "is not taken; send the body as it is", "content-encoding", accept_encoding="identity")


def _unsupported(wanted: str) -> BodyError:
    return BodyError(415, f"send {wanted}", "content-type")
