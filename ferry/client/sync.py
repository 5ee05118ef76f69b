"""The client for ordinary code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

import ferry
from ferry.client import calls, convert
from ferry.client.calls import DEFAULT_TIMEOUT, BatchItem, Call, Question
from ferry.client.diagnosis import Endpoint
from ferry.client.errors import FerryError
from ferry.client.frames import SHARE, Frames
from ferry.client.images import Image
from ferry.client.options import Options
from ferry.client.repeats import Repeats
from ferry.client.results import ClusterStatus, Job, Label, Recognition
from ferry.tls import Tls
from ferry.transport import channel_options, local_options, ping_patience, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

ResponseT = TypeVar("ResponseT")


class Client:
    """Calls a Ferry cluster. Safe to share between threads; one per process is enough.

    Example:
        >>> with Client("localhost:50051") as client:
        ...     for face in client.recognize("photo.jpg").faces:
        ...         print(face.expression, face.confidence)
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        timeout: float = DEFAULT_TIMEOUT,
        tls: Tls | None = None,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> None:
        """
        Args:
            address: the gateway, `host:port`; every address behind the name is used.
            timeout: seconds for one call, unless the call says otherwise.
            tls: certificates, read now: after their renewal make a new client. `Tls()` trusts the system's
                authorities; without, the connection is not encrypted.
            api_key: names the caller to a cluster that asks for it; goes with every call, so use TLS with it.
                White space around it is left out; "" is no key.
            credentials: gRPC's own, in place of `tls`.
            metadata: goes with every call.

        Raises:
            TypeError: `timeout` is no number, or `api_key` no text.
            ValueError: `address` is none, `timeout` no time for a call, or `api_key` cannot be sent.
            TlsError: files of `tls` do not fit.
        """
        self.address = address
        self._endpoint = Endpoint(address, tls, known=credentials is None)
        self._repeats = Repeats()
        self.timeout = calls.checked_timeout(timeout)
        self._metadata = calls.metadata(metadata, api_key)
        if tls is not None:
            credentials = tls.channel_credentials()
        where = target(address)
        options = channel_options(f"ferry-client/{ferry.__version__}", ping_patience=ping_patience(timeout))
        options += local_options(address)
        self._channel = (
            grpc.insecure_channel(where, options)
            if credentials is None
            else grpc.secure_channel(where, credentials, options)
        )
        self._stub = gateway_pb2_grpc.ExpressionRecognitionStub(self._channel)

    def recognize(
        self,
        image: Image,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        shrink: bool = False,
        **options: Unpack[Options],
    ) -> Recognition:
        """Recognises the expressions of all faces in one image.

        Args:
            image: a path, the bytes of an encoded image, a file opened in binary mode, or pixels: an image of
                Pillow's, or a NumPy array, uint8 [height, width, 3] in the order red, green, blue.
            timeout: seconds.
            request_id: names the call in answers, logs and feedback, 8 to 64 of 0-9 A-Z a-z . _ -; None: a new one.
            shrink: of an image above 10 MiB or 40 megapixels, what clusters take by default, send a smaller copy, a
                JPEG, made with Pillow. Boxes, image_size and min_face_size are in pixels of `image`.
            options: see `Options`.

        Raises:
            FerryError: or one of its kinds, such as InvalidImageError.
        """
        question = calls.question(image, options, shrink=shrink)
        call = self._call(timeout, request_id, len(question.message.image))
        return question.answer(self._ask(self._stub.Recognize, question.message, call))

    def recognize_batch(
        self,
        images: Iterable[Image],
        *,
        timeout: float | None = None,
        shrink: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[BatchItem]:
        """Recognises many images, as many as you like; one that fails has its error in the place of an answer.

        Args:
            images: as for `recognize`; taken from the iterable as they are sent.
            timeout: seconds for each 16 images.
            shrink: as for `recognize`.
            options: see `Options`; the same for all images.

        Yields:
            Position of the image, from 0, and its answer or error, in the order in which they are ready.
        """
        for chunk in calls.chunks(images, options, shrink=shrink):
            yield from chunk.results
            call = self._call(timeout)
            while chunk.waiting:
                stream = self._stub.RecognizeMany(
                    chunk.messages(), timeout=call.timeout, metadata=call.metadata, wait_for_ready=call.wait
                )
                pause, error = None, calls.incomplete(call)
                try:
                    for response in stream:
                        call.answered()
                        yield from chunk.accept(response, call)
                except grpc.RpcError as failure:
                    pause = call.pause(failure)
                    if pause is None:
                        error = call.error(failure)
                finally:
                    stream.cancel()
                if pause is not None:
                    time.sleep(pause)
                elif alone := chunk.single_out(error):
                    yield self._alone(*alone, call.timeout)
                else:
                    yield from chunk.end(error)

    def recognize_stream(
        self, frames: Iterable[Image], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Iterator[BatchItem]:
        """Recognises the expressions in the frames of a video or a camera as they come. When they come faster than they
        are answered, the newest one wins: those before it that wait are left out. For images of which none may be left
        out: `recognize_batch`.

        Args:
            frames: as images for `recognize`, of 2 MiB at most; a thread takes them from the iterable as fast as it
                gives them. Pixels are sent as JPEG.
            timeout: seconds for the answer to a frame, at most; connections are renewed in half of it.
            options: see `Options`; the same for all frames.

        Yields:
            Number of the frame, from 0, and its answer or error, in order; those in between were left out.

        Raises:
            FerryError: no gateway takes the frames; or one of its kinds, such as UnavailableError.
            Exception: whatever `frames` raises, when the frames before are answered.
        """
        source = Frames(frames, options)
        lost: tuple[Call, grpc.RpcError] | None = None
        try:
            while source.wait():
                call = self._call(timeout)
                messages = source.messages(call.timeout * SHARE)
                stream = self._stub.RecognizeStream(
                    messages, timeout=call.timeout, metadata=call.metadata, wait_for_ready=call.wait
                )
                try:
                    for response in stream:
                        lost = None
                        yield from source.results(response, call)
                except grpc.RpcError as failure:
                    pause = call.pause(failure)
                    if pause is None:
                        raise call.error(failure) from failure
                    lost = call, failure
                    time.sleep(pause)
                finally:
                    stream.cancel()
            yield from source.rest()
            if lost is not None:
                raise lost[0].error(lost[1]) from lost[1]
        finally:
            source.close()

    def feedback(self, labels: Iterable[Label], *, timeout: float | None = None) -> list[tuple[int, FerryError]]:
        """Says what the expressions of faces of earlier answers truly were, so that variants can be judged.

        Args:
            labels: any number of them; the same again changes nothing, another expression takes the former's place.
            timeout: seconds for each 1,000 labels.

        Returns:
            Position among `labels` and reason of each that was not taken.

        Raises:
            FerryError: or one of its kinds, such as InvalidRequestError for an expression that is none.
        """
        refused: list[tuple[int, FerryError]] = []
        first = 0
        for message in calls.labels(labels):
            call = self._call(timeout)
            answer = self._ask(self._stub.SubmitFeedbackBatch, message, call)
            refused += calls.refusals(answer, first, call.request_id)
            first += len(message.feedback)
        return refused

    def submit_job(
        self,
        image: Image,
        *,
        time_to_live: float | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        shrink: bool = False,
        **options: Unpack[Options],
    ) -> str:
        """Has an image recognised later, when callers leave room; `job` says what became of it.

        Args:
            image: as for `recognize`.
            time_to_live: seconds that the result is kept, 1 to 86,400; None: an hour.
            idempotency_key: the same key gives the same job, however often it is submitted; None: a new one, so that a
                call that is sent again by itself makes no second job.
            timeout: seconds.
            shrink: as for `recognize`; boxes are in pixels of the smaller copy.
            options: see `Options`.

        Returns:
            The job's id.

        Raises:
            FerryError: or one of its kinds, such as OverloadedError.
        """
        message = calls.submission(
            image, options, time_to_live=time_to_live, idempotency_key=idempotency_key, shrink=shrink
        )
        call = self._call(timeout, None, len(message.request.image))
        answer = self._ask(self._stub.SubmitJob, message, call)
        return answer.job_id

    def job(self, job_id: str, *, timeout: float | None = None) -> Job:
        """How a job stands, with its result when it is done.

        Raises:
            FerryError: or one of its kinds; code NOT_FOUND: there is none of this caller's, or its time is over.
        """
        message = gateway_pb2.GetJobRequest(job_id=job_id)
        return convert.job(job_id, self._ask(self._stub.GetJob, message, self._call(timeout)))

    def cancel_job(self, job_id: str, *, timeout: float | None = None) -> None:
        """Stops a job; one that has finished stays as it is.

        Raises:
            FerryError: as `job`.
        """
        message = gateway_pb2.CancelJobRequest(job_id=job_id)
        self._ask(self._stub.CancelJob, message, self._call(timeout))

    def status(self, *, timeout: float | None = None) -> ClusterStatus:
        """Which variants, models and pipelines serve at present.

        Raises:
            FerryError: or one of its kinds.
        """
        return convert.status(self._ask(self._stub.GetStatus, gateway_pb2.GetStatusRequest(), self._call(timeout)))

    def close(self) -> None:
        """Closes the connections; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alone(self, index: int, question: Question, timeout: float) -> BatchItem:
        call = self._call(timeout, None, len(question.message.image))
        try:
            return index, question.answer(self._ask(self._stub.Recognize, question.message, call))
        except FerryError as error:
            return index, error

    def _ask(self, method: Callable[..., ResponseT], message: Message, call: Call) -> ResponseT:
        while True:
            try:
                answer = method(message, timeout=call.timeout, metadata=call.metadata, wait_for_ready=call.wait)
            except grpc.RpcError as error:
                pause = call.pause(error)
                if pause is None:
                    raise call.error(error) from error
                time.sleep(pause)
            else:
                call.answered()
                return answer

    def _call(self, timeout: float | None, request_id: str | None = None, image_bytes: int | None = None) -> Call:
        seconds = self.timeout if timeout is None else timeout
        return Call(
            self._endpoint, self._repeats, seconds, self._metadata, request_id=request_id, image_bytes=image_bytes
        )
