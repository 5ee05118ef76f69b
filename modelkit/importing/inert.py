"""Reads a pickled network as dead matter: every class in it becomes an empty shell that only keeps its attributes.

Ultralytics saves whole Python objects, and so does `torch.save(network)`; training loops keep NumPy's numbers or their
own arguments beside the weights. Unpickling these the usual way runs whatever the file says. Here the only things that
can be made are shells, plain containers and tensors; any other name in the file ends the reading.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelkit.importing.archive import check_archive, check_size
from modelkit.importing.errors import CheckpointError

NETWORKS = ("ultralytics.", "torch.nn.", "timm.", "torchvision.", "models.", "utils.", "__main__.")
RECORDS = (
    *("types.", "pathlib.", "argparse.", "datetime.", "_codecs.", "numpy.", "torch.optim."),
    *("lightning.", "pytorch_lightning.", "lightning_fabric.", "mmengine.", "ignite."),
    *("omegaconf.", "yacs.", "easydict.", "addict.", "ml_collections."),
)
SHELLS = (*NETWORKS, *RECORDS)
"""Modules whose classes and functions become shells: of networks, and of what training loops note beside them."""

PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch", "device"): lambda *_: None,
    **{("builtins", each.__name__): each for each in (dict, list, set, tuple, int, float, str, bool)},
    **{("__builtin__", each.__name__): each for each in (dict, list, set, tuple, int, float, str, bool)},
}
STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_MODULES = 100_000


class Shell:
    """What is left of an object: the attributes that were saved."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: dict[str, Any] = {}

    def __new__(cls, *_: Any, **__: Any) -> Shell:
        shell = super().__new__(cls)
        shell.state = {}
        return shell

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None:
        """Loses what a dictionary of another class held."""

    def extend(self, values: Any) -> None:
        """Loses what a list of another class held."""

    append = extend

    def __hash__(self) -> int:
        return id(self)


def read_inert(file: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The checkpoint's dictionary with shells for objects, and the names of the classes that became shells.

    A network that was saved whole, without a dictionary, stands under `model`.

    Raises:
        CheckpointError: it is no checkpoint of PyTorch's zip format, is damaged, or asks for anything else.
    """
    check_size(file)
    check_archive(file)
    try:
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
            if len(pickles) != 1:
                raise CheckpointError(f"{file} is no checkpoint of PyTorch: it holds {len(pickles)} data.pkl")
            with archive.open(pickles[0]) as stream:
                reader = _Reader(stream, archive, pickles[0].removesuffix("data.pkl"))
                content = reader.load()
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except Exception as error:
        raise CheckpointError(f"{file} is no checkpoint that can be read: {type(error).__name__}: {error}") from error
    if isinstance(content, Shell):
        content = {"model": content}
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file} holds a {type(content).__name__}, not the dictionary of a training run")
    return content, tuple(sorted(reader.shells))


def state_dict(module: Shell) -> dict[str, Tensor]:
    """Parameters and buffers of a shell that was a torch module, by their dotted names, float32 or integer.

    Raises:
        CheckpointError: it is too deep or too large for a network.
    """
    result: dict[str, Tensor] = {}
    todo: list[tuple[str, Shell, int]] = [("", module, 0)]
    for _ in range(MAX_MODULES):
        if not todo:
            return result
        prefix, each, depth = todo.pop()
        passing = each.state.get("_non_persistent_buffers_set")
        unsaved = passing if isinstance(passing, set) else set()
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(each, kind).items():
                if isinstance(value, Tensor) and name not in unsaved:
                    result[f"{prefix}{name}"] = value.float() if value.is_floating_point() else value
        if depth < 32:
            inner = _entries(each, "_modules").items()
            todo += [(f"{prefix}{name}.", part, depth + 1) for name, part in inner if isinstance(part, Shell)]
    raise CheckpointError("the pickled network has no end")


def _entries(shell: Shell, kind: str) -> Mapping[str, Any]:
    found = shell.state.get(kind)
    return found if isinstance(found, Mapping) else {}


class _Reader(pickle.Unpickler):
    def __init__(self, stream: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)
        self.shells: set[str] = set()
        self._archive = archive
        self._root = root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in PLAIN:
            return PLAIN[module, name]
        if module == "torch._utils" and name in REBUILDERS:
            return REBUILDERS[name]
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and name == "Size":
            return tuple
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if f"{module}.".startswith(SHELLS) and name.isidentifier():
            self.shells.add(f"{module}.{name}")
            return type(name, (Shell,), {})
        raise CheckpointError(f"it asks for {module}.{name}, which no network needs. Nothing of it was run")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isalnum():
            raise CheckpointError("a tensor in it has no storage")
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        if len(self._storages[key]) != count:
            raise CheckpointError("a tensor in it is shorter than it says")
        return self._storages[key]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A view into a storage; torch refuses one that reaches beyond it."""
    return torch.as_strided(storage, size, stride, offset)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


REBUILDERS: dict[str, Callable[..., Tensor]] = {
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
}
