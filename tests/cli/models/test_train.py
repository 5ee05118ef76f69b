"""What `ferry models train` says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.models.train import next_command


@pytest.mark.parametrize(
    ("settings", "refine", "said"),
    [
        ({}, False, ""),
        ({"--work-dir": None, "--epochs": None}, True, " --refine"),
        (
            {"--work-dir": Path("my runs"), "--epochs": 1, "--seed": 0},
            False,
            " --work-dir 'my runs' --epochs 1 --seed 0",
        ),
    ],
)
def test_the_next_command_has_the_settings_of_the_run(settings: dict[str, object], refine: bool, said: str) -> None:
    command = next_command("arcface", Path("DIR"), settings, refine=refine)
    assert command == f"ferry models export arcface --data DIR{said}"
