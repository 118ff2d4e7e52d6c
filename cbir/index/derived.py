"""The derived files `ann/<generation>-<seq>.faiss`: written once, never overwritten.

A file is FAISS's own bytes and a trailer (magic, length, CRC-32), so that FAISS itself can read it
and a torn or flipped file is noticed.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from dataclasses import dataclass

from cbir.errors import OperationFailedError
from cbir.index.faiss_index import FaissIndex

FOLDER = "ann"
_MAGIC = b"cbirann1"
_TRAILER = struct.Struct("<8sQI")
_NAME = re.compile(r"(\d+)-(\d+)\.faiss")


class DerivedFileError(Exception):
    """A derived file is torn, flipped or not one of ours; it can be made again."""


@dataclass(frozen=True, slots=True, order=True)
class DerivedFile:
    """Which generation a file belongs to, and up to which seq it covers the catalog."""

    generation: int
    seq: int
    path: str


def derived_files(index: str) -> list[DerivedFile]:
    """All derived files of an index folder, oldest first."""
    try:
        names = os.listdir(os.path.join(index, FOLDER))
    except OSError:  # not there, or not to be listed: readers go on without
        return []
    found = ((_NAME.fullmatch(name), name) for name in names)
    return sorted(
        DerivedFile(int(m[1]), int(m[2]), os.path.join(index, FOLDER, name))
        for m, name in found
        if m
    )


def write_derived(index: str, generation: int, seq: int, store: FaissIndex) -> DerivedFile:
    """Write beside, fsync, rename; OperationFailedError where the disk refuses."""
    data = store.to_bytes()
    path = os.path.join(index, FOLDER, f"{generation}-{seq}.faiss")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "wb") as file:
            file.write(data)
            file.write(_TRAILER.pack(_MAGIC, len(data), zlib.crc32(data)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
    except OSError as error:
        raise OperationFailedError(
            f"Cannot write {path} ({error.strerror}). Free some space, then run `cbir check "
            "--repair`: nothing but this derived file is missing."
        ) from None
    return DerivedFile(generation, seq, path)


def read_derived(file: DerivedFile) -> FaissIndex:
    """Read and verify; DerivedFileError where the file cannot be trusted."""
    try:
        with open(file.path, "rb") as opened:
            data = opened.read()
    except OSError as error:
        raise DerivedFileError(f"cannot be read ({error.strerror})") from None
    if len(data) < _TRAILER.size:
        raise DerivedFileError("is torn")
    magic, length, crc = _TRAILER.unpack(data[-_TRAILER.size :])
    body = memoryview(data)[: -_TRAILER.size]
    if magic != _MAGIC or length != len(body):
        raise DerivedFileError("is torn")
    if zlib.crc32(body) != crc:
        raise DerivedFileError("does not have its checksum")
    try:
        return FaissIndex.from_bytes(body)
    except ValueError as error:
        raise DerivedFileError(f"cannot be read by FAISS ({error})") from None


def prune_derived(index: str, *keep: DerivedFile) -> list[str]:
    """Remove all derived files but these, and what a killed writer left; the names removed."""
    folder = os.path.join(index, FOLDER)
    if not os.path.isdir(folder):
        return []
    kept = {file.path for file in keep}
    gone = [
        name
        for name in os.listdir(folder)
        if (_NAME.fullmatch(name) or name.endswith(".new"))
        and os.path.join(folder, name) not in kept
    ]
    for name in gone:
        os.remove(os.path.join(folder, name))
    return sorted(gone)
