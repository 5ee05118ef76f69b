"""`POST /api/predict` and `/api/predict-batch`: one image, and many."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ferry.v1 import gateway_pb2
from gateway.http import examples
from gateway.http.answers import line, problem_line, recognition_response
from gateway.http.body import Body
from gateway.http.calls import Door, while_wanted
from gateway.http.documents import body_schema, problems
from gateway.http.messages import JsonImage, JsonImages, many_images, one_image
from gateway.http.options import QueryOptions
from gateway.http.pictures import PNG, Pictures, pieces, wants_png
from gateway.http.problems import ProblemError
from gateway.http.stream import Stream

NDJSON = "application/x-ndjson"


def router(door: Door, max_image_bytes: int, max_seconds: float) -> APIRouter:
    """
    Args:
        door: makes the calls.
        max_image_bytes: of an encoded image.
        max_seconds: for a caller to take in an answer.
    """
    routes = APIRouter(tags=["recognition"])
    pictures = Pictures()

    @routes.post(
        "/api/predict",
        summary="Recognise the expressions of all faces in one image",
        response_class=Response,
        responses={
            200: {
                "description": "The faces; none is an answer, too. With `Accept: image/png` the picture, at most 2048 "
                "pixels long, with boxes and expressions.",
                **examples.RECOGNITION,
            },
            **problems(406),
        },
        openapi_extra=body_schema(JsonImage, "image", many=False),
    )
    async def predict(request: Request, options: Annotated[QueryOptions, Query()]) -> Response:
        started = time.monotonic()
        body = Body(request.scope, request.receive)
        taken: list[bytes] = []

        async def read() -> gateway_pb2.RecognizeRequest:
            message = await one_image(body, options, max_image_bytes)
            if as_picture:
                taken.append(message.image)
            return message

        as_picture = wants_png(request.headers.get("accept", ""))
        answer = await door.ask("Recognize", request, read, body, timeout=options.timeout)
        if not as_picture:
            return recognition_response(answer)
        left = None if options.timeout is None else options.timeout - (time.monotonic() - started)
        drawn = await while_wanted(pictures.draw(taken.pop(), answer), body, left)
        headers = {"content-length": str(len(drawn)), "x-request-id": answer.request_id}
        return Stream(pieces(drawn), PNG, max_seconds, headers)

    @routes.post(
        "/api/predict-batch",
        summary="Recognise many images; each is answered as soon as it is ready",
        response_class=Response,
        responses={
            200: {
                "description": "A line of JSON for each image, in the order in which they are ready: `index` is the "
                "position in the request; `result` as of /api/predict, or `error`, a problem. A last line with a "
                "problem and no index says that the request went wrong on its way.",
                **examples.LINES,
            },
            **problems(),
        },
        openapi_extra=body_schema(JsonImages, "images", many=True),
    )
    async def predict_batch(request: Request, options: Annotated[QueryOptions, Query()]) -> Response:
        body = Body(request.scope, request.receive)
        messages = many_images(body, options, max_image_bytes)
        answers = door.ask_many("RecognizeMany", request, messages, body, encode=line, timeout=options.timeout)
        # The first one decides the status: what is wrong from the start is an error, and not a line.
        first = await anext(answers)
        return Stream(_lines(first, answers), NDJSON, max_seconds)

    return routes


async def _lines(first: bytes, others: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(others):
        yield first
        try:
            async for answer in others:
                yield answer
        except ProblemError as error:
            yield problem_line(error.problem)
