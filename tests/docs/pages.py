"""The pages that people read."""

from __future__ import annotations

import re
from pathlib import Path

from tests.processes import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "samples/README.md"]
PACKAGES = ("benchmarks", "cli", "deploy", "ferry", "gateway", "modelkit", "serving", "services", "single", "tests")
CODE = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text(page: Path) -> str:
    """With lines that go on joined."""
    return page.read_text(encoding="utf-8").replace("\\\n", " ")


def commands(page: Path, program: str) -> list[list[str]]:
    """Calls of a program in code, inline or in blocks, up to what follows them: a comment, a pipe, another call."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text(page)) + re.findall(r"^    (.+)$", text(page), re.MULTILINE)
    spans += [line for block in blocks for line in block.splitlines()]
    found = []
    for span in spans:
        for part in re.split(r"[|;]|&&|\s#|\s{6,}", span):
            words = part.strip().removeprefix("time ").split()
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if len(words) > 1 and words[0] == program:
                found.append(words[1:])
    return found
