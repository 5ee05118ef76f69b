"""Degraded views against the codecs that they stand for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

torch = pytest.importorskip("torch")
from modelkit.training.degrade import compressed, equalized, shrunk  # noqa: E402

pytestmark = pytest.mark.toolchain


def face(seed: int = 0) -> np.ndarray:
    """A smooth grey picture with an edge in it, uint8 [48, 48]."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(40, 200, (6, 6), np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
    picture = np.array(rough)
    picture[20:28, 10:38] //= 2
    return picture


def as_batch(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)[:, None].astype(np.float32) / 255)


@pytest.mark.parametrize("quality", [15, 40, 75, 95])
def test_compression_is_that_of_a_real_jpeg(quality: int) -> None:
    picture = face()
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    real = np.asarray(Image.open(file)).astype(int)
    ours = (compressed(as_batch(picture), torch.tensor([float(quality)]))[0, 0] * 255).round().int().numpy()
    assert np.abs(ours - real).mean() < 1  # a rounded half may fall either way, and then a whole block differs a little


def test_a_quality_of_one_hundred_changes_nothing() -> None:
    batch = as_batch(face(1), face(2))
    assert torch.equal(compressed(batch, torch.tensor([100.0, 100.0])), batch)


def test_a_shrunk_picture_has_lost_its_detail_and_others_have_not() -> None:
    batch = as_batch(face(1), face(2))
    result = shrunk(batch, torch.tensor([12, 48]))
    assert torch.equal(result[1], batch[1])
    detail = [(row[0, 1:] - row[0, :-1]).abs().max() for row in (batch[0], result[0])]
    assert detail[1] < detail[0] / 2
    assert result[0].mean() == pytest.approx(float(batch[0].mean()), abs=0.01)


def test_an_even_histogram_is_that_of_pillow() -> None:
    pictures = np.stack([face(3), face(4) // 3, np.full((48, 48), 90, np.uint8)])
    expected = [np.asarray(ImageOps.equalize(Image.fromarray(picture))) for picture in pictures]
    assert (
        np.abs(equalized(pictures).astype(int) - np.stack(expected)).max() <= 8
    )  # Pillow rounds its counts another way
