"""Which pictures have no near-duplicate among those that models have learnt from."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import CROP_SIZE, DataError, find_parquet, read_expressions
from modelkit.data.near_duplicates import LEAK, correlated_pairs
from modelkit.data.tables import write_table
from modelkit.judging.pictures import Pictures

log = logging.getLogger(__name__)

LEARNT = "train"


def copy_free(pictures: Pictures, data: Path, cache: Path) -> npt.NDArray[np.bool_] | None:
    """Mask [N] of the pictures whose correlation with every picture of `train` stays below 0.90.

    It is found once for the same pictures and the same files of `train`.

    Args:
        pictures: to judge by.
        data: where `train` is looked for, see `modelkit.data.expressions.find_parquet`.
        cache: folder for the result.

    Returns:
        None where there is no `train`, as beside a single file or a folder of pictures.
    """
    try:
        files = find_parquet(data, "fer2013", LEARNT) if data.is_dir() else []
    except DataError:
        return None
    if not files:
        return None
    kept = cache / f"copies-{_digest(files)[:16]}-{pictures.digest[:16]}-{LEAK}.npz"
    try:
        copies = np.load(kept)["copies"]
    except (OSError, ValueError, KeyError):
        train = read_expressions(data, LEARNT)
        pairs, _ = correlated_pairs(train.images, pictures.grey(CROP_SIZE), LEAK)
        copies = np.unique(pairs[:, 1])
        try:
            write_table(kept, {"copies": copies})
        except OSError as error:
            log.warning("what is a copy of what will be looked for again: %s", error)
    mask = np.ones(len(pictures), bool)
    mask[copies] = False
    return mask


def _digest(files: list[Path]) -> str:
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            sha.update(hashlib.file_digest(opened, "sha256").digest())
    return sha.hexdigest()
