"""All that the detector learns from, put together: photos, expression crops, and what is known of each face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import DataError, find_parquet
from modelkit.data.photos import Photo, digest, read_photos
from modelkit.data.selection import SelectionCounts, select
from modelkit.data.votes import crowd_shares
from modelkit.detector.missing import filled
from modelkit.detector.yunet import YuNet
from serving.expressions import EXPRESSIONS


@dataclass(frozen=True, eq=False)
class Material:
    """What batches are drawn from.

    photos: with their boxes. soft: for photo i float32 [N, 7], the expression of its N faces as a distribution
    (rows sum to 1, uniform where nothing is known). crops: uint8 [M, 48, 48], grey. crop_labels: int64 [M].
    taught: float32 [M, 7], what classifiers say of the crops, or None. crowd: float32 [M, 7], shares of a crowd's votes
    for each expression; a row sums to less than one where people saw something else; None where nobody was asked.
    """

    photos: list[Photo]
    soft: list[npt.NDArray[np.float32]]
    crops: npt.NDArray[np.uint8]
    crop_labels: npt.NDArray[np.int64]
    taught: npt.NDArray[np.float32] | None = None
    crowd: npt.NDArray[np.float32] | None = None

    @property
    def with_faces(self) -> list[int]:
        return [i for i, photo in enumerate(self.photos) if len(photo.boxes)]

    @property
    def without_faces(self) -> list[int]:
        return [i for i, photo in enumerate(self.photos) if not len(photo.boxes)]


@dataclass(frozen=True)
class Sources:
    """Where the material came from, for the model's record."""

    photos: int
    faces: int
    photos_digest: str
    crops_digest: str
    crops: SelectionCounts
    pseudo_labelled: int
    filled_in: int
    taught: bool
    crowd: bool


def unknown(photo: Photo) -> npt.NDArray[np.float32]:
    """float32 [N, 7]: the uniform distribution for every face of a photo."""
    return np.full((len(photo.boxes), len(EXPRESSIONS)), 1 / len(EXPRESSIONS), np.float32)


def read_training_photos(data: Path, yunet: Path | None = None) -> list[Photo]:
    """The photos of faces/train below `data`, with the faces that YuNet adds; arguments as in `load_material`."""
    photos = read_photos(find_parquet(data, "faces", "train"))
    return photos if yunet is None else filled(photos, YuNet(yunet))


def load_material(
    data: Path,
    cache: Path,
    evaluation: str = "public_test",
    *,
    pseudo: Path | None = None,
    taught: Path | None = None,
    yunet: Path | None = None,
) -> tuple[Material, Sources]:
    """Reads faces/train and fer2013/train below `data`, without near-duplicates of the evaluation crops.

    Args:
        data: folder with `faces/` and `fer2013/`.
        cache: folder where the search for near-duplicates is kept.
        evaluation: FER2013's split that is reported on.
        pseudo: a table of the photographed faces, written by `modelkit.detector.pseudo_labels`, or None.
        taught: a table of the crops, written by the same, or None.
        yunet: a detector that finds faces which the labels leave out, see `modelkit.detector.missing`, or None.

    Raises:
        DataError: a file is missing or not as it should be, or `taught` is a table of other crops.
    """
    photos = read_training_photos(data, yunet)
    selection = select(data, evaluation, cache)
    soft = [unknown(photo) for photo in photos]
    known = 0
    if pseudo is not None:
        with np.load(pseudo) as table:
            for i, photo in enumerate(photos):
                if photo.name in table:
                    rows = table[photo.name]
                    found = np.isfinite(rows).all(1)
                    soft[i][found] = rows[found]
                    known += int(found.sum())
    opinions = None
    if taught is not None:
        with np.load(taught) as table:
            if str(table["digest"]) != selection.train.digest:
                raise DataError(f"{taught} is about other crops than those that are learnt from; delete it")
            opinions = table["probabilities"]
    votes = selection.train.votes
    crowd = None if votes is None else crowd_shares(votes)
    sources = Sources(
        photos=len(photos),
        faces=sum(len(photo.boxes) for photo in photos),
        photos_digest=digest(photos),
        crops_digest=selection.train.digest,
        crops=selection.counts,
        pseudo_labelled=known,
        filled_in=sum(photo.filled_in for photo in photos),
        taught=opinions is not None,
        crowd=crowd is not None,
    )
    return Material(photos, soft, selection.train.images, selection.train.labels, opinions, crowd), sources
