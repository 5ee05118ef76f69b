"""The model `ferry`: encoded images in; for each an answer as JSON, and all faces as tensors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ferry.v1 import gateway_pb2
from gateway.admission.admission import Admission
from gateway.admission.permit import Call
from gateway.inference_v2.options import PARAMETERS, naming_parameters, read
from gateway.inference_v2.outputs import OUTPUTS, outputs
from gateway.recognize.batch import item_context
from gateway.routing.hints import Hints
from serving.errors import NotFoundError
from serving.inference_v2.many import check_count, each
from serving.inference_v2.model import Description, Indexed, Metadata, Models, Query, Reply
from serving.inference_v2.tensor import BYTES, TensorSpec, shown
from serving.rpc.context import caller

NAME: Final = "ferry"
VERSION: Final = "1"
"""Of what it takes and answers; the versions of the models behind it are in its answers."""
IMAGE: Final = "image"

Recognize = Callable[[gateway_pb2.RecognizeRequest, Hints], Awaitable[gateway_pb2.RecognizeResponse]]


class GatewayModels(Models):
    """The one that a gateway offers."""

    def __init__(
        self,
        recognize: Recognize,
        hints: Callable[[Metadata], Hints],
        admission: Admission,
        max_images: int,
        ready: Callable[[], bool],
    ) -> None:
        """
        Args:
            recognize: answers one image.
            hints: which variant a call's metadata asks for.
            admission: asked once a question, for all its images.
            max_images: of one question; they are worked on side by side.
            ready: whether the gateway can answer at present.
        """
        self._recognize = recognize
        self._hints = hints
        self._admission = admission
        self._max_images = max_images
        self._ready = ready

    def describe(self, name: str, version: str = "") -> Description:
        if name != NAME or version not in {"", VERSION}:
            wanted = shown(name) if not version else f"{shown(name)} version {shown(version)}"
            raise NotFoundError(f"model {wanted} is not served here; there is {NAME} {VERSION}")
        return Description(NAME, VERSION, (VERSION,), (TensorSpec(IMAGE, BYTES, (-1,)),), OUTPUTS, PARAMETERS)

    async def index(self) -> list[Indexed]:
        ready = self._ready()
        return [Indexed(NAME, VERSION, ready, "" if ready else "no variant of the pipeline can answer")]

    async def infer(self, query: Query) -> Reply:
        images = query.inputs[IMAGE].items
        check_count(IMAGE, len(images), self._max_images)
        options, bypass_cache = read(query.parameters)
        hints = self._hints(query.metadata)

        async def ask(index: int, image: bytes) -> gateway_pb2.RecognizeResponse:
            if len(images) > 1:
                item_context(index)
            request = gateway_pb2.RecognizeRequest(image=image, options=options, bypass_cache=bypass_cache)
            with naming_parameters():
                return await self._recognize(request, hints)

        with self._admission.admit(Call(len(images), sum(map(len, images)), caller())) as permit:
            answers = await each(IMAGE, images, ask)
            if all(answer.cached for answer in answers):
                permit.found()
        said = {"degraded": any(answer.degraded for answer in answers)}
        return Reply(NAME, VERSION, await outputs(answers, frozenset(query.outputs)), said)
