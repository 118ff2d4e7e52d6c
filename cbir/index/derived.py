"""The derived files `ann/<generation>-<seq>.faiss`: written once, never overwritten.

Where the index is not exact, `ann/<generation>-<seq>.vectors` lies beside (`vectors.py`).

A file is FAISS's own bytes and a trailer (magic, length, CRC-32), so that FAISS itself can read it
and a torn or flipped file is noticed.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from cbir.errors import OperationFailedError
from cbir.index.faiss_index import FaissIndex

FOLDER = "ann"
_MAGIC = b"cbirann1"
_TRAILER = struct.Struct("<8sQI")
_NAME = re.compile(r"(\d+)-(\d+)\.faiss")
_OURS = re.compile(r"\d+-\d+\.(faiss|vectors)(\.new)?")


class DerivedFileError(Exception):
    """A derived file is torn, flipped or not one of ours; it can be made again."""


@dataclass(frozen=True, slots=True, order=True)
class DerivedFile:
    """Which generation a file belongs to, and up to which seq it covers the catalog."""

    generation: int
    seq: int
    path: str

    @property
    def vectors(self) -> str:
        """The path of the embeddings beside it (`vectors.py`); an exact index has none."""
        return os.path.splitext(self.path)[0] + ".vectors"


def derived_file(index: str, generation: int, seq: int) -> DerivedFile:
    """The file of a generation as of a seq, written or not."""
    return DerivedFile(generation, seq, os.path.join(index, FOLDER, f"{generation}-{seq}.faiss"))


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
    made = derived_file(index, generation, seq)
    path = made.path
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "wb") as file:
            checked = _Checked(file)
            store.write(checked.write)
            file.write(_TRAILER.pack(_MAGIC, checked.length, checked.crc))
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(path + ".new")
        raise refused(path, error) from None
    return made


def refused(path: str, error: OSError) -> OperationFailedError:
    """What to say where the disk does not take a derived file."""
    return OperationFailedError(
        f"Cannot write {path} ({error.strerror}). Free some space, then run the command again: "
        "nothing but this derived file is missing."
    )


class _Checked:
    """Bytes on their way to a file: counted and summed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.length, self.crc = 0, 0

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._file.write(data)
        self.length += len(data)
        self.crc = zlib.crc32(data, self.crc)


def read_derived(file: DerivedFile, memory: int | None = None) -> FaissIndex:
    """Read and verify; DerivedFileError where the file cannot be trusted.

    A file of more bytes than `memory` is left on the disk, where its kind can be searched there
    (`ivf`, `pq`): what a search touches is read then, and not verified before.
    """
    try:
        with open(file.path, "rb") as opened:
            length = _verified_length(opened)
            if memory is not None and length > memory:
                found = FaissIndex.mapped(file.path)
                if found is not None:
                    return found
            if _sum(opened, length) != _expected(opened, length):
                raise DerivedFileError("does not have its checksum")
            opened.seek(0)
            return FaissIndex.read(opened.read)
    except OSError as error:
        raise DerivedFileError(f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DerivedFileError(f"cannot be read by FAISS ({error})") from None


def _verified_length(opened: BinaryIO) -> int:
    """Bytes of FAISS's own part, by a trailer that fits the file's size."""
    size = os.fstat(opened.fileno()).st_size
    if size < _TRAILER.size:
        raise DerivedFileError("is torn")
    opened.seek(size - _TRAILER.size)
    magic, length, _ = _TRAILER.unpack(opened.read(_TRAILER.size))
    if magic != _MAGIC or length != size - _TRAILER.size:
        raise DerivedFileError("is torn")
    return int(length)


def _expected(opened: BinaryIO, length: int) -> int:
    opened.seek(length)
    return int(_TRAILER.unpack(opened.read(_TRAILER.size))[2])


def _sum(opened: BinaryIO, length: int) -> int:
    """CRC-32 of so many bytes from the start."""
    opened.seek(0)
    crc = 0
    while length > 0 and (data := opened.read(min(length, 1 << 20))):
        crc = zlib.crc32(data, crc)
        length -= len(data)
    return crc


def prune_derived(index: str, *keep: DerivedFile) -> list[str]:
    """Remove all derived files but these, and what a killed writer left; the names removed."""
    folder = os.path.join(index, FOLDER)
    if not os.path.isdir(folder):
        return []
    kept = {path for file in keep for path in (file.path, file.vectors)}
    gone = [
        name
        for name in os.listdir(folder)
        if (_OURS.fullmatch(name) or name.endswith(".new"))
        and os.path.join(folder, name) not in kept
    ]
    for name in gone:
        try:
            os.remove(os.path.join(folder, name))
        except PermissionError:  # Windows keeps what a reader has open; the next run removes it
            if os.name != "nt":
                raise
    return sorted(gone)
