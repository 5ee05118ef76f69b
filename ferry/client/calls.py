"""What both clients share: requests, deadlines, metadata, and the bookkeeping of a batch. All but the waiting."""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from ferry.client import convert, errors
from ferry.client.diagnosis import Endpoint
from ferry.client.errors import FerryError, InvalidImageError, InvalidRequestError
from ferry.client.images import LARGEST_IMAGE_BYTES, Image, read, read_small
from ferry.client.options import Options, to_proto
from ferry.client.repeats import KEPT_FOR_FAILURES, Repeats
from ferry.client.results import Label, Recognition, Size
from ferry.client.tracing import with_trace_context
from ferry.transport import IMAGE_BYTES_KEY, LOST_KEY, SILENT
from ferry.v1 import gateway_pb2, types_pb2

DEFAULT_TIMEOUT = 30.0
"""Seconds for one call."""
MAX_TIMEOUT = 86_400.0
"""Seconds; a cluster ends calls long before."""
BATCH_LABELS = 1000
"""Most labels that travel in one call."""
EXPRESSION_NUMBERS = {
    name.removeprefix("EXPRESSION_").lower(): number for name, number in types_pb2.Expression.items() if number
}
MAX_REFUSALS = 5
"""How often a call is sent again because gateways were not ready, or had too much to do."""
FIRST_PAUSE, MAX_PAUSE = 0.05, 0.5
"""Seconds before a call is sent again, doubled with each refusal."""
PATIENCE, PATIENT_PAUSE = 1.0, 0.1
"""Seconds in which, and after each of which, a call that finds no gateway is tried again: a pod that has just started
is refused until the network policies know of it."""
MIN_TIMEOUT = 0.001
"""Seconds; what is left of a call whose time is up."""
CHUNK_IMAGES = 16
"""Most images of a batch that travel in one call."""

_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{8,64}")

BatchItem: TypeAlias = tuple[int, Recognition | FerryError]
"""Position of an image in its batch, and what became of it."""


class Call:
    """One call: its deadline in seconds, its request id, its metadata, what its failure means, and whether it is sent
    again."""

    def __init__(
        self,
        endpoint: Endpoint,
        repeats: Repeats,
        timeout: float,
        metadata: Iterable[tuple[str, str]],
        *,
        request_id: str | None = None,
        image_bytes: int | None = None,
    ) -> None:
        """
        Args:
            endpoint: where it goes.
            repeats: what its client has learnt.
            timeout: seconds.
            metadata: that goes with it.
            request_id: None: a new one.
            image_bytes: of the one image it is about; None: it is not about one.

        Raises:
            TypeError, ValueError: `timeout` is no time for a call.
            InvalidRequestError: `request_id` is none that a cluster takes.
        """
        timeout = checked_timeout(timeout)
        if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
            message = f"request_id: must be 8 to 64 of 0-9, A-Z, a-z, '.', '_' and '-', not {request_id!r:.80}"
            raise InvalidRequestError(message, field="request_id")
        self.request_id = request_id or secrets.token_hex(16)
        self._endpoint = endpoint
        self._repeats = repeats
        repeats.count()
        began = time.monotonic()
        self._end, self._patient = began + timeout, began + PATIENCE
        self._metadata = (*with_trace_context(tuple(metadata)), ("x-request-id", self.request_id))
        if image_bytes is not None:
            self._metadata += ((IMAGE_BYTES_KEY, str(image_bytes)),)
        self._refusals = 0
        self._refusal: grpc.RpcError | None = None
        self._refusal_seconds, self._sent = 0.0, began
        self._lost = self._suspect = False

    @property
    def timeout(self) -> float:
        """Seconds that are left of it, more than 0."""
        return max(MIN_TIMEOUT, self._end - time.monotonic())

    @property
    def wait(self) -> bool:
        """gRPC's `wait_for_ready`."""
        return self._repeats.wait

    def answered(self) -> None:
        """A gateway has answered."""
        self._repeats.wait = True

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with it."""
        return (*self._metadata, (LOST_KEY, "1")) if self._suspect else self._metadata

    def pause(self, error: grpc.RpcError, *, goes_on: bool = False) -> float | None:
        """Seconds after which the call is to be sent again, to another gateway where there is one; None: not at all.

        A gateway that refused it, or whose gRPC turned it away, is well: it is sent again, a few times. One that was
        lost may have been lost by it, so it is sent once more, and says so (LOST_KEY). Everything else is an answer.
        One that has too much to do says when to come back: if that is soon, the call does, a few times.
        When many calls fail, few of them are sent again. One that has reached nobody costs nobody anything, and is
        tried for a second.

        Args:
            error: that the call ended with.
            goes_on: whether nothing of it is sent again, but what comes next: then it may have ended by anything.
        """
        if errors.is_unreached(error) and time.monotonic() + PATIENT_PAUSE < min(self._patient, self._end):
            return PATIENT_PAUSE
        hidden = goes_on and errors.is_hidden(error)
        self._repeats.wait = errors.is_answer(error) or (
            self.wait and (errors.is_unanswered(error) or errors.is_turned_away(error) or hidden)
        )
        soon = errors.retry_after(error) if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else None
        if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED} and not hidden and soon is None:
            return None
        now = time.monotonic()
        if soon is not None or errors.refused(error) or errors.is_turned_away(error) or hidden:
            self._refusals += 1
            self._refusal, self._refusal_seconds = error, now - self._sent
            again = self._refusals <= MAX_REFUSALS
        else:
            again = not self._lost and errors.is_unanswered(error)
            self._lost = True
            # A gateway falls silent with its node, whatever it works on.
            self._suspect = SILENT not in (error.details() or "")
        pause = min(FIRST_PAUSE * 2**self._refusals, MAX_PAUSE) * random.uniform(0.5, 1)
        if soon is not None:
            # Nearer to its end it would be refused again: gateways foresee whether they answer in time.
            pause = max(FIRST_PAUSE, soon)
            again = again and pause <= min(MAX_PAUSE, self.timeout / 2)
        self._sent = now + pause
        keep = 0.0 if soon is None else KEPT_FOR_FAILURES
        return pause if again and pause < self.timeout and self._repeats.take(keep) else None

    def error(self, error: grpc.RpcError) -> FerryError:
        """The failure of this call, as a caller should see it; where nobody has answered, takes a second to see why.

        That the time is up says nothing where most of it went by before a gateway refused the call: then it is what
        that one said.
        """
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and self._refusal is not None:
            error = self._refusal if self._refusal_seconds > time.monotonic() - self._sent else error
        mistake = self._endpoint.mistake(self._end - time.monotonic()) if errors.is_unanswered(error) else None
        return errors.from_rpc(error, self._endpoint.address, self.request_id, mistake)


def checked_timeout(timeout: float) -> float:
    """`timeout`, which is a time for a call, in seconds.

    Raises:
        TypeError: it is no number.
        ValueError: it is none that gRPC can hold as a deadline; with infinity, say, a call would be over at once.
    """
    try:
        fits = 0 < timeout <= MAX_TIMEOUT
    except TypeError:
        raise TypeError(f"timeout: is a number of seconds, not {timeout!r:.80}") from None
    if not fits:
        raise ValueError(f"timeout must be more than 0 and at most {MAX_TIMEOUT:.0f} seconds, not {timeout}")
    return float(timeout)


def checked_key(api_key: str | None) -> str | None:
    """`api_key` without the white space around it, which files of Secrets end with; None, no key, where it is "".

    Raises:
        TypeError: it is no text.
        ValueError: it cannot be sent. It is not quoted: errors end in logs.
    """
    if api_key is None or api_key == "":
        return None
    if not isinstance(api_key, str):
        raise TypeError(f"api_key: is text, not {type(api_key).__name__}")
    key = api_key.strip()
    if not (key.isascii() and key.isprintable() and key):
        raise ValueError(
            "api_key must be one line of ASCII letters, digits and signs" if key else "api_key is white space"
        )
    return key


def metadata(pairs: Iterable[tuple[str, str]], api_key: str | None) -> tuple[tuple[str, str], ...]:
    """What goes with every call of a client.

    Raises:
        TypeError: `api_key` is no text.
        ValueError: it cannot be sent.
    """
    key = checked_key(api_key)
    return (*pairs, *(() if key is None else (("authorization", f"Bearer {key}"),)))


@dataclass(frozen=True, slots=True)
class Question:
    """One image.

    Attributes:
        message: what is sent.
        size: of the upright image, where a smaller copy is sent; else None.
    """

    message: gateway_pb2.RecognizeRequest
    size: Size | None = None

    def answer(self, response: gateway_pb2.RecognizeResponse) -> Recognition:
        """As the caller should see it."""
        return convert.recognition(response, self.size)


def question(image: Image, options: Options, *, shrink: bool = False) -> Question:
    """For one image; see `images.read` and `options.to_proto` for what it raises."""
    data, size, factor = read_small(image) if shrink else (read(image), None, 1.0)
    given = to_proto(options)
    given.min_face_size *= factor
    bypass_cache = options.get("bypass_cache", False)
    return Question(gateway_pb2.RecognizeRequest(image=data, options=given, bypass_cache=bypass_cache), size)


def frame(image: Image, options: Options) -> gateway_pb2.RecognizeRequest:
    """For one frame of many, of which the next ones are near: pixels become a JPEG. Raises as `question`."""
    bypass_cache = options.get("bypass_cache", False)
    return gateway_pb2.RecognizeRequest(
        image=read(image, lossy=True), options=to_proto(options), bypass_cache=bypass_cache
    )


def submission(
    image: Image, options: Options, *, time_to_live: float | None, idempotency_key: str | None, shrink: bool
) -> gateway_pb2.SubmitJobRequest:
    """For a job; raises as `question`, and InvalidRequestError where `time_to_live` is no time.

    Without a key it has one of its own: sent again, it is still the same job.
    """
    request = question(image, options, shrink=shrink).message
    key = idempotency_key or secrets.token_hex(16)
    message = gateway_pb2.SubmitJobRequest(request=request, idempotency_key=key)
    if time_to_live is not None:
        try:
            message.time_to_live.FromMilliseconds(int(time_to_live * 1000))
        except (OverflowError, TypeError, ValueError) as error:
            said = f"time_to_live: must be 1 to 86400 seconds, not {time_to_live!r:.80}"
            raise InvalidRequestError(said, field="time_to_live") from error
    return message


def labels(given: Iterable[Label]) -> Iterator[gateway_pb2.SubmitFeedbackBatchRequest]:
    """The messages for labels, as many in each as a cluster takes.

    Raises:
        InvalidRequestError: an expression that is none; its field says which label.
    """
    waiting: list[gateway_pb2.SubmitFeedbackRequest] = []
    for index, label in enumerate(given):
        number = EXPRESSION_NUMBERS.get(label.expression)
        if number is None or not 0 <= label.face < 1 << 32:
            message = (
                f"labels[{index}]: expression must be one of {', '.join(EXPRESSION_NUMBERS)}, and face 0 or more, not "
                f"{label.expression!r} and {label.face}"
            )
            raise InvalidRequestError(message, field=f"labels[{index}]")
        waiting.append(
            gateway_pb2.SubmitFeedbackRequest(request_id=label.request_id, face_index=label.face, expression=number)
        )
        if len(waiting) == BATCH_LABELS:
            yield gateway_pb2.SubmitFeedbackBatchRequest(feedback=waiting)
            waiting = []
    if waiting:
        yield gateway_pb2.SubmitFeedbackBatchRequest(feedback=waiting)


def refusals(
    response: gateway_pb2.SubmitFeedbackBatchResponse, first: int, request_id: str
) -> Iterator[tuple[int, FerryError]]:
    """Position and reason of each label that was not taken; `first` is the position of the message's first."""
    for refusal in response.refusals:
        yield first + refusal.index, errors.from_item(refusal.error, request_id)


def incomplete(call: Call) -> FerryError:
    """What it means when a batch ends without an answer for every image."""
    return FerryError("the gateway left this image out of its answers", code="INTERNAL", request_id=call.request_id)


class Chunk:
    """Some images of a batch, and which of them wait for an answer."""

    def __init__(self) -> None:
        self.results: list[BatchItem] = []
        """What is known without asking: the errors of images that could not be read."""
        self._waiting: dict[int, Question] = {}
        self._sent: list[int] = []
        self._bytes = 0

    def has_room(self, question: Question) -> bool:
        """True when `question` can travel with those that are here."""
        size = self._bytes + len(question.message.image)
        return not self._waiting or (len(self._waiting) < CHUNK_IMAGES and size <= LARGEST_IMAGE_BYTES)

    def add(self, index: int, question: Question) -> None:
        """Puts the image at `index` of the batch into the chunk."""
        self._waiting[index] = question
        self._bytes += len(question.message.image)

    @property
    def waiting(self) -> bool:
        """True while an image has no answer."""
        return bool(self._waiting)

    def messages(self) -> Iterator[gateway_pb2.RecognizeManyRequest]:
        """The requests for the images that wait, one message each."""
        self._sent = list(self._waiting)
        images = len(self._sent)
        return (
            gateway_pb2.RecognizeManyRequest(request=waiting.message, images=images)
            for waiting in list(self._waiting.values())
        )

    def accept(self, response: gateway_pb2.RecognizeManyResponse, call: Call) -> Iterator[BatchItem]:
        """The result in `response`, with its index in the batch; nothing for an index that does not wait."""
        index = self._sent[response.index] if response.index < len(self._sent) else -1
        asked = self._waiting.pop(index, None)
        if asked is None:
            return
        if response.HasField("response"):
            yield index, asked.answer(response.response)
        else:
            yield index, errors.from_item(response.error, call.request_id)

    def single_out(self, error: FerryError) -> tuple[int, Question] | None:
        """The image to ask for in a call of its own, where `error` of a call with many does not say which one it is of:
        the largest, if one was too large for a message. gRPC for asyncio has an error of its own in place of whatever a
        gateway says while it is still sent to."""
        hidden = isinstance(error, InvalidImageError) or (error.code == "INTERNAL" and errors.HIDDEN in str(error))
        if not hidden or not self._waiting:
            return None
        index = max(self._waiting, key=lambda index: len(self._waiting[index].message.image))
        return index, self._waiting.pop(index)

    def end(self, error: FerryError) -> Iterator[BatchItem]:
        """`error` for each image that still waits."""
        failed, self._waiting = list(self._waiting), {}
        for index in failed:
            yield index, error


def chunks(images: Iterable[Image], options: Options, *, shrink: bool = False) -> Iterator[Chunk]:
    """Splits a batch; reads images only as chunks are taken, so that a long batch never lies in memory whole."""
    to_proto(options)
    chunk = Chunk()
    for index, image in enumerate(images):
        try:
            asked = question(image, options, shrink=shrink)
        except InvalidImageError as error:
            chunk.results.append((index, error))
            continue
        if not chunk.has_room(asked):
            yield chunk
            chunk = Chunk()
        chunk.add(index, asked)
    yield chunk
