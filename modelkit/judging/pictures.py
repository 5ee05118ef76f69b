"""Pictures of faces to judge models by: crops as classifiers are served them, what they show, and who says so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from modelkit.data.votes import VOTES
from serving.errors import InvalidArgumentError
from serving.images.crop import cut_crops
from serving.images.decode import decode

SMALLEST = 8
"""Pictures whose longer side has fewer pixels show no face that anybody could read; they are left out."""

Crop = npt.NDArray[np.uint8]


class NoPictureError(ValueError):
    """Bytes that are no picture which could be judged; the message says why."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Faces with what they show.

    Attributes:
        crops: N square crops, uint8 [s, s, 3], RGB; their sides differ.
        labels: int64 [N], index into `serving.expressions.EXPRESSIONS`.
        votes: int64 [N, 10], counts in the order of `modelkit.data.votes.VOTES`; ten zeros where nobody voted.
        sizes: float32 [N], longer side of the face where it was found, in pixels.
        names: N names.
        digest: SHA-256 over everything that is judged.
        left_out: sentences about what is not among them.
    """

    crops: tuple[Crop, ...]
    labels: npt.NDArray[np.int64]
    votes: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.float32]
    names: tuple[str, ...]
    digest: str
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def voted(self) -> bool:
        """Whether a crowd voted on any of them."""
        return bool(self.votes.any())

    def grey(self, side: int) -> npt.NDArray[np.uint8]:
        """All of them as uint8 [N, side, side], by ITU-R BT.601."""
        return np.stack([_grey(crop, side) for crop in self.crops])


class Names:
    """The names that were met, and what stood under each.

    Attributes:
        twice: how often the same stood there again.
    """

    def __init__(self) -> None:
        self.twice = 0
        self._seen: dict[str, str] = {}

    def is_new(self, name: str, seen: str) -> bool:
        """Whether nothing stood under this name yet.

        Args:
            seen: what stands there now.

        Raises:
            NoPictureError: something else stood there.
        """
        if name not in self._seen:
            self._seen[name] = seen
            return True
        if self._seen[name] != seen:
            raise NoPictureError("stands there twice, with another picture or another label")
        self.twice += 1
        return False


class Collector:
    """Gathers pictures one by one.

    Args:
        crop_size: crops are no larger, as in serving; smaller pictures stay as they are.
    """

    def __init__(self, crop_size: int) -> None:
        self.left_out: list[str] = []
        self._crop_size = crop_size
        self._rows: list[tuple[Crop, int, npt.NDArray[np.int64], float, str]] = []
        self.names = Names()
        self._sha = hashlib.sha256()
        self._small = 0

    def add_picture(
        self, encoded: bytes | None, label: int, name: str, votes: npt.NDArray[np.int64] | None = None
    ) -> None:
        """A picture whose border is taken for the face's box.

        A longer side of less than `SMALLEST` pixels leaves it out, and so does the same picture under the same name.

        Raises:
            NoPictureError: it cannot be decoded, or another picture or label has the same name.
        """
        if encoded is None:
            raise NoPictureError("has no picture")
        seen = hashlib.sha256(encoded + bytes([label])).hexdigest()
        if not self.names.is_new(name, seen):
            return
        image = decoded(encoded)
        height, width = image.shape[:2]
        if max(height, width) < SMALLEST:
            self._small += 1
            return
        box = np.array([[0, 0, width, height]], np.float32)
        crop = cut_crops(image, box, min(max(height, width), self._crop_size), 0.0)[0]
        self.add(crop, label, name, size=max(height, width), seen=seen, votes=votes)

    def add(
        self,
        crop: Crop,
        label: int,
        name: str,
        *,
        size: float,
        seen: str,
        votes: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """A crop, uint8 [s, s, 3]; `seen` stands for it in the digest."""
        counts = np.zeros(len(VOTES), np.int64) if votes is None else votes
        self._sha.update(f"{seen} {label}".encode())
        self._sha.update(counts.tobytes())
        self._rows.append((crop, label, counts, size, name))

    def finish(self) -> Pictures:
        """What was gathered; N may be 0."""
        if self._small:
            self.left_out.append(f"{counted(self._small, 'picture')} of less than {SMALLEST} px")
        if self.names.twice:
            again = counted(self.names.twice, "picture")
            self.left_out.append(f"{again} that stood there already under the same name")
        crops, labels, counts, sizes, names = zip(*self._rows, strict=True) if self._rows else ((), (), (), (), ())
        return Pictures(
            crops=tuple(crops),
            labels=np.asarray(labels, np.int64),
            votes=np.asarray(counts, np.int64).reshape(-1, len(VOTES)),
            sizes=np.asarray(sizes, np.float32),
            names=tuple(names),
            digest=self._sha.hexdigest(),
            left_out=tuple(self.left_out),
        )


def decoded(encoded: bytes | None) -> npt.NDArray[np.uint8]:
    """The pixels of a picture as Ferry's detector decodes it: uint8 [H, W, 3], RGB, upright.

    Raises:
        NoPictureError: there is none, or it cannot be decoded.
    """
    if encoded is None:
        raise NoPictureError("has no picture")
    try:
        return decode(encoded)
    except InvalidArgumentError as error:
        raise NoPictureError(f"is no picture that can be judged: it {error.description}") from error


def spread(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` rows, evenly spread, the same at every call."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def by_side(
    crops: Sequence[Crop], judge: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]], columns: int
) -> npt.NDArray[np.float32]:
    """Answers to crops of different sides, from a judge that takes crops of one side at a time.

    Args:
        crops: N of them, uint8 [s, s, 3].
        judge: uint8 [n, s, s, 3] to float32 [n, columns].

    Returns:
        float32 [N, columns].
    """
    answers = np.empty((len(crops), columns), np.float32)
    sides = np.array([len(crop) for crop in crops], int)
    for side in np.unique(sides):
        rows = np.flatnonzero(sides == side)
        answers[rows] = judge(np.stack([crops[int(row)] for row in rows]))
    return answers


def counted(count: int, noun: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _grey(crop: Crop, side: int) -> npt.NDArray[np.uint8]:
    grey = Image.fromarray(crop).convert("L")
    return np.asarray(grey if grey.size == (side, side) else grey.resize((side, side), Image.Resampling.BILINEAR))
