"""Pictures that are nearly the same, mirrored ones included.

Two crops count as near-duplicates when the correlation of their pixels, at half size, reaches a threshold.
That finds re-encoded, re-lit, mirrored and slightly shifted copies; it does not find other photographs of
the same person, nor copies cut quite differently.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import ExpressionSet

LEAK = 0.90  # what is kept away from training: nearly all pairs here are copies, some are only alike
SAME = 0.95  # what is taken for one picture: by eye, all pairs here are copies
_ROWS = 2048


def signatures(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Half-size pixels without their mean, scaled to length 1: a dot product is Pearson's correlation.

    Args:
        images: uint8 [N, H, W], H and W even.

    Returns:
        float32 [N, H * W / 4]; all zero for a picture of one single tone.
    """
    n, height, width = images.shape
    small = images.reshape(n, height // 2, 2, width // 2, 2).astype(np.float32).mean(axis=(2, 4)).reshape(n, -1)
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    return small / np.where(length > 1e-3, length, np.inf).astype(np.float32)


def correlated_pairs(
    left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8], threshold: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Every pair (i, j) with left[i] nearly right[j] or its mirror image.

    Args:
        left: uint8 [N, H, W].
        right: uint8 [M, H, W].
        threshold: smallest correlation that counts, in [0, 1].

    Returns:
        int64 [P, 2] pairs and float32 [P] their correlation (the larger of the two).
    """
    theirs = signatures(right)
    ours, mirrored = signatures(left), signatures(left[:, :, ::-1])
    pairs, values = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    for start in range(0, len(left), _ROWS):
        rows = slice(start, start + _ROWS)
        correlation = np.maximum(ours[rows] @ theirs.T, mirrored[rows] @ theirs.T)
        found = np.argwhere(correlation >= threshold)
        pairs.append(found + np.array([start, 0]))
        values.append(correlation[found[:, 0], found[:, 1]])
    return np.concatenate(pairs), np.concatenate(values)


def groups(images: npt.NDArray[np.uint8], threshold: float = SAME) -> npt.NDArray[np.int64]:
    """Connected groups of near-duplicates.

    Returns:
        int64 [N]: for each picture the lowest index of its group, its own index if it is alone.
    """
    leader = np.arange(len(images))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = int(leader[i])
        return i

    pairs, _ = correlated_pairs(images, images, threshold)
    for i, j in pairs[pairs[:, 0] < pairs[:, 1]]:
        a, b = find(int(i)), find(int(j))
        leader[max(a, b)] = min(a, b)
    return np.array([find(i) for i in range(len(images))], np.int64)


def conflicting(group: npt.NDArray[np.int64], data: ExpressionSet) -> npt.NDArray[np.bool_]:
    """Mask [N] of pictures whose group of near-duplicates disagrees on the expression."""
    lowest, highest = np.full(len(data), 127), np.full(len(data), -1)
    np.minimum.at(lowest, group, data.labels)
    np.maximum.at(highest, group, data.labels)
    return (lowest != highest)[group]
