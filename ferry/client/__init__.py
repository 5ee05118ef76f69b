"""The Python client of Ferry: from a photo to the expressions of its faces in one line.

    from ferry.client import Client

    for face in Client("localhost:50051").recognize("photo.jpg").faces:
        print(face.box, face.expression, face.confidence)

`AsyncClient` is the same with `await`. Every call has a deadline, connection failures are retried, and whatever goes
wrong is a `FerryError`.
"""

from ferry.client.aio import AsyncClient
from ferry.client.errors import (
    DeadlineError,
    FerryError,
    InvalidImageError,
    InvalidRequestError,
    MismatchError,
    OverloadedError,
    UnavailableError,
)
from ferry.client.images import Image
from ferry.client.options import Options
from ferry.client.results import (
    Box,
    CacheStatus,
    ClusterStatus,
    Face,
    Job,
    Label,
    LoadFailure,
    ModelOpinion,
    ModelVersion,
    PipelineModel,
    Recognition,
    Size,
    Timings,
    VariantStatus,
)
from ferry.client.sync import Client
from ferry.tls import Tls, TlsError

__all__ = [
    "AsyncClient",
    "Box",
    "CacheStatus",
    "Client",
    "ClusterStatus",
    "DeadlineError",
    "Face",
    "FerryError",
    "Image",
    "InvalidImageError",
    "InvalidRequestError",
    "Job",
    "Label",
    "LoadFailure",
    "MismatchError",
    "ModelOpinion",
    "ModelVersion",
    "Options",
    "OverloadedError",
    "PipelineModel",
    "Recognition",
    "Size",
    "Timings",
    "Tls",
    "TlsError",
    "UnavailableError",
    "VariantStatus",
]
