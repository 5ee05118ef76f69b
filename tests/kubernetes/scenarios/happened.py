"""What `kubectl get events` shows of a scenario."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tests.deploy.manifests import Json
from tests.kubernetes.kubectl import Kubectl

_MOST = 400
"""Characters of a message."""


def happened(kubectl: Kubectl, since: float) -> list[str]:
    """Events of Ferry's namespace and of nodes, the oldest first.

    Args:
        kubectl: of Ferry's namespace.
        since: seconds since 1970; what ended earlier is left out.
    """
    of_nodes = kubectl.within("default").get("events", "--field-selector=involvedObject.kind=Node")
    return lines([*kubectl.get("events")["items"], *of_nodes["items"]], since)


def lines(events: Iterable[Json], since: float) -> list[str]:
    """One for each: seconds since then, type, reason, object, how often, message."""
    found = []
    for event in events:
        series = event.get("series") or {}
        last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
        at = datetime.fromisoformat(last).timestamp()
        if at < since - 1:
            continue
        count = series.get("count") or event.get("count") or 1
        about = event["involvedObject"]
        object_ = f"{about['kind'].lower()}/{about['name']}"
        often = f" (x{count})" if count > 1 else ""
        message = " ".join(event.get("message", "").split())[:_MOST]
        found.append(
            (at, f"{max(at - since, 0):.0f}s  {event['type']}  {event['reason']}  {object_}  {message}{often}")
        )
    return [line for _, line in sorted(found)]
