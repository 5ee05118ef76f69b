"""Imports Ultralytics without what its import does to the process around it."""

from __future__ import annotations

import os

from PIL import Image

from modelkit.shims import torchvision as torchvision_shim


def install() -> None:
    """Makes `import ultralytics` work, install no packages, and leave `PIL.Image.open` as Pillow has it.

    Ultralytics' own `Image.open` answers a file that is no picture by installing a package with pip.
    """
    os.environ["YOLO_AUTOINSTALL"] = "false"
    torchvision_shim.install()
    pillows = Image.open
    from ultralytics.utils import patches

    Image.open = patches._image_open if pillows is patches.image_open else pillows
