"""docs/settings.md: every variable of every service, made from the code that reads them.

`python -m cli.settings` writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic_settings import BaseSettings

from gateway.settings import GatewaySettings
from services.classifier.settings import ClassifierSettings
from services.detector.settings import DetectorSettings
from services.ensembler.settings import EnsemblerSettings
from serving.faults import alternatives
from serving.repository.fetch import FetchSettings
from serving.settings import ModelServiceSettings, ServiceSettings

PAGE: Final = Path(__file__).parents[1] / "docs/settings.md"
SERVICES: Final[dict[str, type[BaseSettings]]] = {
    "gateway": GatewaySettings,
    "ensembler": EnsemblerSettings,
    "detector": DetectorSettings,
    "classifier": ClassifierSettings,
    "models-fetch": FetchSettings,
}
_SECTIONS: Final[dict[str, tuple[type[BaseSettings], type[BaseSettings] | None]]] = {
    "All services": (ServiceSettings, None),
    "Detector and classifiers": (ModelServiceSettings, ServiceSettings),
    "Gateway": (GatewaySettings, ServiceSettings),
    "Ensembler": (EnsemblerSettings, ServiceSettings),
    "Detector": (DetectorSettings, ModelServiceSettings),
    "Classifiers": (ClassifierSettings, ModelServiceSettings),
    "Fetching models": (FetchSettings, None),
}
"""What each section shows, less what it has from the second."""
_HEAD: Final = """# Settings

Every setting of every service: a variable, and the flag of the same name (`FERRY_MAX_CALLS`, `--max-calls`). The flag
wins. What does not fit ends the start, and is named. `ferry serve` passes the variables on to all that it starts, but
for those that its own flags decide, such as addresses and ports; the manifests set what they need
([operations.md](operations.md#settings)). A name that no service knows is ignored, since one ConfigMap serves them all;
one that looks like a slip of the pen is named on stderr.

Variables of commands, such as `FERRY_ADDRESS` and `FERRY_API_KEY`, are in their `--help`. This page is made from the
code (`python -m cli.settings`).
"""


def page() -> str:
    """The page, as Markdown."""
    return _HEAD + "".join(_section(title, cls, base) for title, (cls, base) in _SECTIONS.items())


def variable(field: str) -> str:
    """Such as FERRY_MAX_CALLS, of the field `max_calls`."""
    return f"FERRY_{field.upper()}"


def _section(title: str, cls: type[BaseSettings], base: type[BaseSettings] | None) -> str:
    known = set() if base is None else set(base.model_fields)
    schema = cls.model_json_schema()["properties"]
    lines = ["", f"## {title}", "", "| setting | default | takes | what |", "|---|---|---|---|"]
    for name, field in cls.model_fields.items():
        if name in known:
            continue
        what = field.description or ""
        unit = "byte" if "byte" in f"{name} {what}" else ""
        default = "must be given"
        if not field.is_required():
            default = _defaults(cls, name, schema[name]["default"], unit)
        lines.append(f"| `{variable(name)}` | {default} | {_takes(schema[name], unit)} | {what} |")
    return "\n".join([*lines, ""])


def _defaults(cls: type[BaseSettings], name: str, own: Any, unit: str) -> str:
    """The default, and those of services that have another one."""
    of = {service: other.model_fields[name] for service, other in SERVICES.items() if issubclass(other, cls)}
    others = [
        f"; {service}: {_default(field.default, unit)}"
        for service, field in of.items()
        if field.default != cls.model_fields[name].default
    ]
    return _default(own, unit) + "".join(others)


def _default(value: Any, unit: str) -> str:
    if value is None or value in ("", []):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _number(value, unit)
    path = Path(str(value))
    return f"`{path.relative_to(PAGE.parents[1]) if path.is_absolute() else value}`"


def _takes(schema: dict[str, Any], unit: str) -> str:
    """What values it takes, in a few words."""
    schema = next((way for way in schema.get("anyOf", ()) if way.get("type") != "null"), schema)
    if choices := alternatives(schema.get("pattern", "")):
        return ", ".join(choices)
    match schema.get("type"):
        case "boolean":
            return "true, false"
        case "array":
            return "names, with commas"
        case "string":
            return "a file or folder" if schema.get("format") == "path" else "text"
    least = schema.get("minimum")
    above = f"over {_number(schema['exclusiveMinimum'], unit)}" if least is None else _number(least, unit)
    return f"{above} to {_number(schema['maximum'], unit)}"


def _number(value: float, unit: str) -> str:
    """Bytes also in MiB or GiB, where they are whole ones."""
    for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20)) if unit == "byte" else ():
        if value >= size and value % size == 0:
            return f"{value:.15g} ({value // size:g} {name})"
    return f"{value:.15g}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
