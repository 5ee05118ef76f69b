"""Load of every kind on a cluster, in a thread, for as long as a test looks."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.protobuf.duration_pb2 import Duration

from ferry.v1 import gateway_pb2, gateway_pb2_grpc

_KEPT = Duration(seconds=1)
"""Results of jobs, so that their Redis does not fill up."""
_PAUSE_SECONDS = 0.05
"""Between two rounds: what is looked at needs some of the CPUs too."""


@contextmanager
def every_kind_of_load(stub: gateway_pb2_grpc.ExpressionRecognitionStub, photo: bytes) -> Iterator[None]:
    """New images, known ones, the same one twice at once, batches, images past the cache, jobs, what is no image."""
    stop = threading.Event()

    def run() -> None:
        with ThreadPoolExecutor(2) as pool:
            for number in itertools.count():
                if stop.is_set():
                    return
                # Bytes after the end of a JPEG change its digest and nothing else.
                new = photo + number.to_bytes(8)
                twice = [pool.submit(_recognize, stub, new) for _ in range(2)]
                for future in twice:
                    future.result()
                _recognize(stub, new)
                _recognize(stub, photo, bypass_cache=True)
                _recognize(stub, b"no image")
                requests = [gateway_pb2.RecognizeRequest(image=photo), gateway_pb2.RecognizeRequest(image=new)]
                for _ in stub.RecognizeBatch(gateway_pb2.RecognizeBatchRequest(requests=requests), timeout=60):
                    pass
                later = gateway_pb2.RecognizeRequest(image=photo)
                stub.SubmitJob(gateway_pb2.SubmitJobRequest(request=later, time_to_live=_KEPT), timeout=60)
                stop.wait(_PAUSE_SECONDS)

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        yield
        assert thread.is_alive(), "the load has ended with an error"
    finally:
        stop.set()
        thread.join(60)


def _recognize(stub: gateway_pb2_grpc.ExpressionRecognitionStub, image: bytes, *, bypass_cache: bool = False) -> None:
    try:
        stub.Recognize(gateway_pb2.RecognizeRequest(image=image, bypass_cache=bypass_cache), timeout=60)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:  # type: ignore[attr-defined]
            raise
