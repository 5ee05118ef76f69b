"""YuNet, a small face detector: it finds faces that a collection's labels leave out.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence Research 2023), as exported by
libfacedetection.train: for strides 8, 16 and 32 one anchor a cell, box centres in cells from the cell's corner,
sides as the logarithm of cells, score the geometric mean of class and objectness.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.detector.nms import suppress

STRIDES = (8, 16, 32)
OVERLAP = 0.3
MOST_FACES = 256


class YuNet:
    """A loaded file.

    Args:
        file: ONNX with a dynamic input [batch, 3, height, width], BGR, 0..255.
        threads: of the runtime.
    """

    def __init__(self, file: Path, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def find(
        self, image: npt.NDArray[np.uint8], least: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Faces of one photo, surest first.

        Args:
            image: uint8 [height, width, 3], RGB.
            least: smallest score that counts, in (0, 1).

        Returns:
            float32 [N, 4] boxes (x1, y1, x2, y2, pixels, inside the image) and float32 [N] scores.
        """
        height, width = image.shape[:2]
        answers, columns = self._run(image)
        boxes, scores = zip(*(decode(answers, stride, columns // stride) for stride in STRIDES), strict=True)
        found, sure = np.concatenate(boxes), np.concatenate(scores)
        found = np.clip(found, 0, np.array([width, height, width, height], np.float32))
        keep = np.flatnonzero(sure >= least)
        keep = keep[suppress(found[keep], sure[keep], OVERLAP, MOST_FACES)]
        return found[keep], sure[keep]

    def landmarks(self, image: npt.NDArray[np.uint8], least: float) -> npt.NDArray[np.float32] | None:
        """The points of the surest face: right eye, left eye, tip of the nose, right and left corner of the mouth.

        Arguments as in `find`.

        Returns:
            float32 [5, 2], x and y in pixels; None if there is no face.
        """
        answers, columns = self._run(image)
        points, scores = [], []
        for stride in STRIDES:
            offsets = answers[f"kps_{stride}"][0].reshape(-1, 5, 2)
            points.append((_corners(len(offsets), columns // stride)[:, None] + offsets) * np.float32(stride))
            scores.append(decode(answers, stride, columns // stride)[1])
        sure = np.concatenate(scores)
        best = int(sure.argmax())
        surest: npt.NDArray[np.float32] = np.concatenate(points)[best]
        return surest if sure[best] >= least else None

    def _run(self, image: npt.NDArray[np.uint8]) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
        """The network's answers by name, and the width that it saw, in pixels."""
        height, width = image.shape[:2]
        padded = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.float32)
        padded[:height, :width] = image[..., ::-1]
        names = [output.name for output in self._session.get_outputs()]
        answers = self._session.run(None, {"input": padded.transpose(2, 0, 1)[None]})
        return dict(zip(names, answers, strict=True)), padded.shape[1]


def decode(
    answers: dict[str, npt.NDArray[np.float32]], stride: int, columns: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Boxes float32 [cells, 4] (x1, y1, x2, y2, pixels) and scores float32 [cells] of one stride.

    Args:
        answers: by output name, float32 [1, cells, ...]; cells row by row.
        stride: pixels a cell.
        columns: cells a row.
    """
    offsets = answers[f"bbox_{stride}"][0]
    centre = (_corners(len(offsets), columns) + offsets[:, :2]) * stride
    half = np.exp(offsets[:, 2:]) * (stride / 2)
    score = np.sqrt(np.clip(answers[f"cls_{stride}"][0, :, 0], 0, 1) * np.clip(answers[f"obj_{stride}"][0, :, 0], 0, 1))
    boxes: npt.NDArray[np.float32] = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    return boxes, score.astype(np.float32)


def _corners(count: int, columns: int) -> npt.NDArray[np.float32]:
    """Column and row of so many cells, row by row: float32 [cells, 2]."""
    cells = np.arange(count)
    return np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
