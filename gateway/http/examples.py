"""Examples for OpenAPI."""

from __future__ import annotations

from typing import Any, Final

_REQUEST: Final = "0f4b1c6d8e2a4f7b9c3d5e6f7a8b9c0d"
_EXPRESSIONS: Final = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprised")
_SHARES: Final = dict(zip(_EXPRESSIONS, (0.01, 0.01, 0.01, 0.9, 0.04, 0.01, 0.02), strict=True))
_MODEL: Final = {"name": "arcface", "version": "1", "digest": "5b" * 32}
_FACE: Final = {
    "box": {"x_min": 212.0, "y_min": 96.0, "x_max": 370.0, "y_max": 291.0},
    "score": 0.94,
    "expression": "happy",
    "confidence": 0.9,
    "probabilities": _SHARES,
    "models": [
        {"model": _MODEL, "expression": "happy", "confidence": 0.9, "probabilities": _SHARES, "weight": 1.0},
    ],
    "degraded": False,
    "missing_models": [],
}
_ANSWER: Final = {
    "faces": [_FACE],
    "image_size": {"width": 640, "height": 480},
    "models": [_MODEL],
    "timings": {
        "total_ms": 62.1,
        "ensembler_ms": 60.3,
        "detector_ms": 31.8,
        "classifiers_ms": 27.2,
        "decode_ms": 3.4,
        "queue_ms": 0.1,
        "compute_ms": 24.9,
    },
    "cached": False,
    "degraded": False,
    "variant": "stable",
    "fingerprint": "c4" * 32,
    "request_id": _REQUEST,
}
_PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
JSON_IMAGE: Final[dict[str, Any]] = {"image": _PIXEL, "max_faces": 10}
JSON_IMAGES: Final[dict[str, Any]] = {"images": [JSON_IMAGE, {"image": _PIXEL}]}
FEEDBACK: Final[dict[str, Any]] = {"request_id": _REQUEST, "face_index": 0, "expression": "happy"}
PROBLEM: Final[dict[str, Any]] = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "must be 0 (the default) to 256, not 1000",
    "code": "INVALID_ARGUMENT",
    "field": "max_faces",
    "request_id": _REQUEST,
}


def _json(model: str, example: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}, "example": example}}}


def _object(example: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"type": "object"}, "example": example}}}


RECOGNITION: Final = {
    "content": {
        **_json("Recognition", _ANSWER)["content"],
        "image/png": {"schema": {"type": "string", "format": "binary"}},
    }
}
LINES: Final = {
    "content": {"application/x-ndjson": {"schema": {"type": "string"}, "example": '{"index": 0, "result": {}}\n'}}
}
JOB: Final = _object({"job_id": _REQUEST, "location": f"/api/jobs/{_REQUEST}"})
JOB_STATE: Final = _object({"job_id": _REQUEST, "state": "succeeded", "result": _ANSWER})
_FAILURE: Final = {"version": "2", "attempts": 3, "retry_time": 1790000000.0}
STATUS: Final = _json(
    "Status",
    {
        "ferry_version": "0.1.0",
        "uptime": 12.5,
        "variants": [
            {
                "name": "stable",
                "traffic_share": 1.0,
                "healthy": True,
                "fingerprint": "c4" * 32,
                "models": [{**_MODEL, "weight": 1.0, "available": True, "load_failure": _FAILURE}],
            }
        ],
        "cache": {"enabled": True, "redis_available": True, "memory_entries": 3, "memory_bytes": 4096},
    },
)
FIGURES: Final = _object(
    {
        "seconds": 10.0,
        "requests": 184.0,
        "errors": 0.0,
        "faces": 302.0,
        "requests_per_second": 18.4,
        "errors_per_second": 0.0,
        "p50_ms": 41.0,
        "p95_ms": 88.0,
        "cache_hit_share": 0.21,
        "faces_per_second": 30.2,
        "processes": 5,
        "experiments": [{"variant": "canary", "metric": "accuracy", "low": 0.004, "high": 0.038, "worse": False}],
    }
)
