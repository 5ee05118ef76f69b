"""Where jobs lie in Redis. Everything begins with `ferry:jobs:1:`.

| key | type | holds |
|---|---|---|
| `job:ID` | hash | one job: its state, its owner, and, encrypted, the image or the result |
| `once:HASH` | string | the job that a caller's idempotency key stands for |
| `queue` | sorted set | ids that wait or are worked on, by when they may be taken next |
| `ends` | sorted set | `ID OWNER BYTES` of every job, by when it is forgotten |
| `sizes` | hash | jobs and bytes, of all and of each owner |

Times are Unix time in milliseconds by the clock of Redis, so that no two gateways disagree.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "ferry:jobs:1:"
JOB: Final = PREFIX + "job:"
QUEUE: Final = PREFIX + "queue"
ENDS: Final = PREFIX + "ends"
SIZES: Final = PREFIX + "sizes"


def job(job_id: str) -> str:
    """Of one job."""
    return JOB + job_id


def once(name: str) -> str:
    """Of what an idempotency key stands for, by the hash of its owner and itself."""
    return f"{PREFIX}once:{name}"
