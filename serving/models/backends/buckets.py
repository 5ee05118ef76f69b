"""Batch buckets: the few sizes in which a GPU runs batches, so that its shapes are fixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serving.models.backends.base import Rows


def bucket_sizes(max_batch: int) -> tuple[int, ...]:
    """Powers of two below `max_batch`, and `max_batch`: ascending."""
    powers = [2**power for power in range(max_batch.bit_length())]
    return tuple(sorted({size for size in powers if size < max_batch} | {max_batch}))


def bucket_for(rows: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds `rows`; the largest one where none does."""
    return next((size for size in buckets if size >= rows), buckets[-1])


def parts(rows: Rows, buckets: Sequence[int]) -> Iterator[tuple[int, Rows]]:
    """Cuts a batch into runs: each with the bucket that it is padded to.

    Args:
        rows: float32 [N, ...].
        buckets: ascending; more rows than the largest make several runs.
    """
    for start in range(0, len(rows), buckets[-1]):
        part = rows[start : start + buckets[-1]]
        yield bucket_for(len(part), buckets), part
