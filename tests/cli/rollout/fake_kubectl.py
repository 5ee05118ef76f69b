"""A kubectl of a few lines: keeps objects in a JSON file, and rolls Deployments at once.

Run as `kubectl` from the PATH; FAKE_CLUSTER names the file: {"objects": [...], "history": {...}, "log": [...],
"patches": {...}, "broken": [...]}. `patches` are the latest by name; `broken` names Deployments whose rollout never
ends.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path

REVISION = "deployment.kubernetes.io/revision"


def merged(old, new):
    """A strategic merge as far as it is needed: lists of named things merge by name, or lose what is to be deleted."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list):
        names = {item["name"]: item for item in old}
        for item in new:
            if item.get("$patch") == "delete":
                names.pop(item["name"], None)
            else:
                names[item["name"]] = merged(names.get(item["name"]), item)
        return list(names.values())
    return new


def fail(text):
    print(f"Error from server: {text}", file=sys.stderr)
    raise SystemExit(1)


class Cluster:
    def __init__(self, state):
        self.state = state

    def find(self, kind, name):
        for item in self.state["objects"]:
            if item["kind"].lower() == kind and item["metadata"]["name"] == name:
                return item
        return fail(f'(NotFound): {kind}s "{name}" not found')

    def roll(self, item, template, notes):
        """A new template: the former one goes into the history, the revision rises."""
        meta = item["metadata"]
        meta["annotations"] = {**notes, REVISION: str(int(meta["annotations"][REVISION]) + 1)}
        item["spec"]["template"] = template
        self.remember(item)

    def remember(self, item):
        entry = {"template": copy.deepcopy(item["spec"]["template"]), "notes": dict(item["metadata"]["annotations"])}
        self.state["history"].setdefault(item["metadata"]["name"], []).append(entry)

    def get(self, kind, *arguments):
        if kind == "rollouts.argoproj.io":
            fail('the server doesn\'t have a resource type "rollouts"')
        elif kind in {"statefulsets", "events"}:
            print(json.dumps({"items": []}))
        elif kind == "deployments":
            assert arguments[0] == "--selector"
            found = [
                item
                for item in self.state["objects"]
                if item["kind"] == "Deployment" and item["metadata"]["labels"]["app.kubernetes.io/name"] == "ferry"
            ]
            print(json.dumps({"items": found}))
        elif kind == "pods":
            print(json.dumps({"items": self.state.get("pods", [])}))
        else:
            print(json.dumps(self.find(kind, arguments[0])))

    def patch(self, kind, name, *arguments):
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        assert options["--patch-file"] == "/dev/stdin"
        patch, item = json.load(sys.stdin), self.find(kind, name)
        self.state["patches"][name] = copy.deepcopy(patch)
        version = patch.get("metadata", {}).pop("resourceVersion", item["metadata"]["resourceVersion"])
        if version != item["metadata"]["resourceVersion"]:
            fail("(Conflict): the object has been modified")
        before = copy.deepcopy(item.get("spec", {}).get("template"))
        after = merged(item, patch)
        item["metadata"] = {**after["metadata"], "resourceVersion": str(int(version) + 1)}
        if "data" in after:
            item["data"] = after["data"]
        elif after["spec"]["template"] != before:
            self.roll(item, after["spec"]["template"], after["metadata"]["annotations"])

    def apply(self, *arguments):
        assert arguments == ("--filename", "-")
        self.state["objects"].append(json.load(sys.stdin))

    def rollout(self, what, target, *arguments):
        name = target.removeprefix("deployment/")
        item = self.find("deployment", name)
        if what == "undo":
            former = self.state["history"][name][-2]
            self.roll(item, former["template"], former["notes"])
        elif name in self.state["broken"]:
            fail(f'deployment "{name}" exceeded its progress deadline')


def main():
    path = Path(os.environ["FAKE_CLUSTER"])
    state = json.loads(path.read_text())
    arguments = sys.argv[1:]
    assert arguments[:2] == ["--namespace", "ferry"], arguments
    verb, *rest = arguments[2:]
    if (verb, *rest) == ("config", "current-context"):
        print("fake")
        return
    if verb == "get":
        assert rest[-2:] == ["--output", "json"]
        rest = rest[:-2]
    else:
        state["log"].append([verb, *rest])
    try:
        getattr(Cluster(state), verb)(*rest)
    finally:
        path.write_text(json.dumps(state))


if __name__ == "__main__":
    main()
