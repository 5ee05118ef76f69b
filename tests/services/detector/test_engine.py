"""From images to faces around a run of the model."""

import numpy as np
import pytest

from services.detector.engine import find_faces, prepare_images
from services.detector.letterbox import letterbox, smallest_frame
from serving.preprocess import floats
from serving.repository.manifest import Encoding

from .conftest import MakeManifest


def face(x: float, y: float, width: float, height: float, score: float) -> list[float]:
    return [x, y, width, height, 0, 0, 0, score, 0, 0, 0]


def test_images_of_different_sizes_share_one_tensor(make_manifest: MakeManifest) -> None:
    images = [np.full((100, 200, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8)]
    rows, geometries = prepare_images(images, make_manifest())
    assert rows.shape == (2, 3, 64, 64)
    assert rows.dtype == np.float32
    assert rows[0, :, 32, 32].tolist() == [1.0, 1.0, 1.0]
    assert np.allclose(rows[0, :, 0, 0], 114 / 255)
    assert [(g.width, g.height) for g in geometries] == [(200, 100), (64, 64)]


def test_no_images_make_an_empty_batch(make_manifest: MakeManifest) -> None:
    rows, geometries = prepare_images([], make_manifest())
    assert rows.shape == (0, 3, 64, 64)
    assert geometries == []


def test_faces_come_in_image_pixels_surest_first_without_doubles(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    _, [geometry] = prepare_images([np.zeros((100, 200, 3), np.uint8)], manifest)
    raw = np.array([face(16, 32, 8, 8, 0.5), face(48, 32, 8, 8, 0.9), face(16, 32, 8, 7, 0.4)], np.float32).T
    faces = find_faces(raw, geometry, manifest)
    assert [f.score for f in faces] == pytest.approx([0.9, 0.5])
    assert np.allclose(faces[0].box, [137.5, 37.5, 162.5, 62.5])
    assert faces[0].probabilities is not None
    assert faces[0].probabilities.argmax() == 3


def test_a_one_class_model_gives_faces_without_probabilities(make_manifest: MakeManifest) -> None:
    manifest = make_manifest({"face": None})
    _, [geometry] = prepare_images([np.zeros((64, 64, 3), np.uint8)], manifest)
    [found] = find_faces(np.array([[32, 32, 8, 8, 0.9]], np.float32).T, geometry, manifest)
    assert found.probabilities is None


def test_the_callers_threshold_and_limit_hold(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    _, [geometry] = prepare_images([np.zeros((64, 64, 3), np.uint8)], manifest)
    raw = np.array([face(8 + 12 * i, 32, 8, 8, 0.3 + 0.1 * i) for i in range(4)], np.float32).T
    assert len(find_faces(raw, geometry, manifest)) == 4
    assert len(find_faces(raw, geometry, manifest, max_faces=2)) == 2
    assert len(find_faces(raw, geometry, manifest, score_threshold=0.55)) == 1


@pytest.mark.filterwarnings("error")
def test_a_box_beyond_the_image_is_no_face(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    _, [geometry] = prepare_images([np.zeros((100, 200, 3), np.uint8)], manifest)
    raw = np.array([face(32, 4, 8, 8, 0.9), face(1e38, 1e38, 1e38, 1e38, 0.9)], np.float32).T
    assert find_faces(raw, geometry, manifest) == []


def test_the_same_box_8400_times_is_one_face(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    _, [geometry] = prepare_images([np.zeros((64, 64, 3), np.uint8)], manifest)
    raw = np.repeat(np.array([face(32, 32, 8, 8, 0.9)], np.float32).T, 8400, axis=1)
    assert len(find_faces(raw, geometry, manifest)) == 1


@pytest.mark.filterwarnings("error")
def test_noise_never_breaks_it(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    _, [geometry] = prepare_images([np.zeros((37, 91, 3), np.uint8)], manifest)
    rng = np.random.default_rng(0)
    specials = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e38, -1e38, 1e-45], np.float32)
    for _ in range(50):
        raw = rng.normal(0, 50, (11, 300)).astype(np.float32)
        raw[rng.random(raw.shape) < 0.1] = rng.choice(specials)
        for found in find_faces(raw, geometry, manifest, max_faces=10):
            x1, y1, x2, y2 = found.box
            assert 0 <= x1 < x2 <= 91
            assert 0 <= y1 < y2 <= 37
            assert 0 < found.score <= 1
            assert found.probabilities is None or np.isclose(found.probabilities.sum(), 1, atol=1e-5)


def test_small_faces_take_no_large_faces_place(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    _, [geometry] = prepare_images([np.zeros((64, 64, 3), np.uint8)], manifest)
    small = [face(4 + 6 * i, 8, 4, 4, 0.9) for i in range(8)]
    large = [face(12 + 20 * i, 40, 16, 16, 0.5) for i in range(2)]
    raw = np.array([*small, *large], np.float32).T
    assert len(find_faces(raw, geometry, manifest, max_faces=8)) == 8
    found = find_faces(raw, geometry, manifest, max_faces=8, min_face_size=10)
    assert [f.score for f in found] == pytest.approx([0.5, 0.5])
    assert len(find_faces(raw, geometry, manifest, max_faces=1, min_face_size=10)) == 1
    assert find_faces(raw, geometry, manifest, min_face_size=100) == []


def test_a_picture_goes_into_the_smallest_frame_that_holds_it(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(encoding=Encoding.BYTES, sides=(32, 48))
    white = [np.full((*size, 3), 255, np.uint8) for size in ((480, 640), (640, 300), (100, 600), (500, 490))]
    shapes = {prepare_images([image], manifest)[0].shape[1:] for image in white}
    assert shapes == {(48, 64, 3), (64, 32, 3), (32, 64, 3), (64, 64, 3)}
    rows, (geometry,) = prepare_images(white[:1], manifest)
    assert rows.dtype == np.uint8
    assert (rows == 255).all(), "nothing of it is padding"
    np.testing.assert_array_equal(geometry.to_image(np.array([[0, 0, 64, 48]], np.float32)), [[0, 0, 640, 480]])


def test_pictures_of_one_run_share_a_frame_that_does_for_all(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(encoding=Encoding.BYTES, sides=(32, 48))
    lying, standing = np.zeros((32, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)
    assert prepare_images([lying, standing], manifest)[0].shape == (2, 64, 64, 3)
    assert prepare_images([lying, lying], manifest)[0].shape == (2, 32, 64, 3)
    assert prepare_images([lying], manifest, (64, 48))[0].shape == (1, 48, 64, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (333, 500), (511, 512), (641, 480), (427, 640), (299, 300)])
def test_a_picture_is_as_large_in_its_frame_as_in_the_full_one(
    size: tuple[int, int], make_manifest: MakeManifest
) -> None:
    spec = make_manifest(sides=(32, 40, 48)).input
    frame = smallest_frame([size], spec)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    own, full = letterbox(image, *frame)[1], letterbox(image, spec.width, spec.height)[1]
    assert (own.scale_x, own.scale_y) == (full.scale_x, full.scale_y)


def test_floats_and_bytes_are_the_same_input(make_manifest: MakeManifest) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    as_bytes, as_floats = make_manifest(encoding=Encoding.BYTES), make_manifest()
    pixels, _ = prepare_images([image], as_bytes)
    rows, _ = prepare_images([image], as_floats)
    np.testing.assert_array_equal(floats(pixels, as_bytes.input), rows)
