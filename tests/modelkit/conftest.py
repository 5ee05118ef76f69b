from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

# Without the toolchain's packages most of these files cannot even be imported.
ROOMS = {"judging", "networks", "publishing", "shims", "training"}
PLAIN = {"test_card.py", "test_judgement.py", "test_killed.py", "test_promotion.py", "test_publish.py"} | {
    path.name for path in (Path(__file__).parent / "judging").glob("test_*.py") if path.name != "test_parity.py"
}
collect_ignore = (
    []
    if importlib.util.find_spec("torch")
    else [
        str(path)
        for path in Path(__file__).parent.glob("*/test_*.py")
        if path.name not in PLAIN and path.parent.name in ROOMS
    ]
)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other are slower than one where other work runs beside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: 140 pictures to learn from, 3 of them copies of the 35 to be judged by."""
    from tests.modelkit.pictures import crops, write_crops

    test_images, test_labels = crops(5, seed=1)
    images, labels = crops(20, seed=2)
    images[0], labels[0] = test_images[4], test_labels[4]
    images[1], labels[1] = test_images[8, :, ::-1], test_labels[8]
    images[2], labels[2] = np.clip(test_images[9] * 0.8 + 20, 0, 255).astype(np.uint8), test_labels[9]
    folder = tmp_path / "data"
    half = len(labels) // 2
    write_crops(folder / "fer2013" / "train-0.parquet", images[:half], labels[:half])
    write_crops(folder / "fer2013" / "train-1.parquet", images[half:], labels[half:])
    write_crops(folder / "fer2013" / "public_test.parquet", test_images, test_labels)
    return folder
