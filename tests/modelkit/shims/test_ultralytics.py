"""Ultralytics changes nothing for the rest of the process."""

import subprocess
import sys

import pytest

SCRIPT = """
from io import BytesIO
from PIL import Image, UnidentifiedImageError
{first}
from modelkit.shims.ultralytics import install
install()
import ultralytics.nn.tasks
from ultralytics.utils import AUTOINSTALL
assert Image.open.__module__ == "PIL.Image", Image.open
assert {first!r} or not AUTOINSTALL
try:
    Image.open(BytesIO(b"no picture"))
except UnidentifiedImageError:
    print("as Pillow has it")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["", "from modelkit.shims import torchvision as t; t.install(); import ultralytics.utils"]
)
def test_pillow_opens_pictures_itself(first: str) -> None:
    script = SCRIPT.format(first=first)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1:] == ["as Pillow has it"], done.stderr
