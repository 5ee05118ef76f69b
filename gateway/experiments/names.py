"""Where things lie in Redis. Everything begins with `ferry:ab:1:` and has a time to live, but for the salt and `sizes`.

| key | type | holds |
|---|---|---|
| `exposure:ID` | string | one answer (`record.Exposure`), by its request id |
| `pair:ID:VARIANT` | string | one answer beside a shadow's (`record.Pair`) |
| `labels:ID` | hash | by face_index, `EXPRESSION:UNIX_SECONDS` |
| `index:KIND:BUCKET` | list | names of the exposures or pairs of a bucket of time |
| `labelled:BUCKET` | set | request ids with labels, by the time of their answer |
| `table:TABLE` | string | shares of a routing table, JSON |
| `sizes` | hash | bytes by bucket, about; gateways take out those whose time is over |
| `salt` | string | of the hashes of callers |
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "ferry:ab:1:"
EXPOSURE: Final = "exposure"
PAIR: Final = "pair"
KINDS: Final = (EXPOSURE, PAIR)
SALT: Final = PREFIX + "salt"
SIZES: Final = PREFIX + "sizes"

BUCKET_SECONDS: Final = 600
"""What is dropped at once when there is too much."""


def bucket(time: float) -> int:
    """Of a moment, Unix time in seconds."""
    return int(time // BUCKET_SECONDS)


def record(kind: str, name: str) -> str:
    """Of one exposure or pair."""
    return f"{PREFIX}{kind}:{name}"


def index(kind: str, of: int) -> str:
    """Of the names of a bucket."""
    return f"{PREFIX}index:{kind}:{of}"


def labels(request_id: str) -> str:
    """Of the labels of one answer."""
    return f"{PREFIX}labels:{request_id}"


def labelled(of: int) -> str:
    """Of the answers of a bucket that have labels."""
    return f"{PREFIX}labelled:{of}"


def table(name: str) -> str:
    """Of a routing table's shares."""
    return f"{PREFIX}table:{name}"
