"""How to look at an image: the keyword arguments of `recognize` and `recognize_batch`."""

from __future__ import annotations

from typing import Literal, TypedDict

from ferry.client.errors import InvalidRequestError
from ferry.v1 import ensembler_pb2, types_pb2


class Options(TypedDict, total=False):
    """Each one may be left out.

    Attributes:
        max_faces: most faces to return, by descending score, 1 to 256; 64 by default.
        min_detection_score: least detection score in [0, 1]; the detector's own threshold by default.
        min_face_size: least longer side of a face's box in pixels.
        detail: how closely to look for small faces, 1 (the whole picture at once) to 4: faces so many times smaller are
            found, at the cost of up to 1 + detail * detail runs of the detector.
        test_time_augmentation: average each classifier over several views: slower, usually a little more accurate.
        vote: `soft` (weighted mean of probabilities) or `hard` (weighted count); the recipe's rule by default.
        bypass_cache: neither read the result cache nor write to it.
    """

    max_faces: int
    min_detection_score: float
    min_face_size: float
    detail: int
    test_time_augmentation: bool
    vote: Literal["soft", "hard"]
    bypass_cache: bool


_VOTES = {"soft": types_pb2.VOTE_SOFT, "hard": types_pb2.VOTE_HARD}


def to_proto(options: Options) -> ensembler_pb2.RecognizeOptions:
    """The message for `options`, without `bypass_cache`, which belongs to the request.

    Raises:
        InvalidRequestError: a value that the message cannot hold; ranges are for the cluster to judge.
        TypeError: an option that does not exist.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}")
    message = ensembler_pb2.RecognizeOptions()
    for name, value in options.items():
        if name == "bypass_cache":
            continue
        try:
            setattr(message, name, _VOTES[str(value)] if name == "vote" else value)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequestError(f"options.{name}: {value!r} is not valid", field=f"options.{name}") from error
    return message
