"""A folder → the files in it that may be images.

A file is one where its suffix is that of an image, or where its first bytes are: content decides,
not the name. So a JPEG without a suffix is found, and HTML that is called .jpg is found too: it
becomes a failure when it is decoded, and is not lost in silence.

Left out: hidden files and folders (unless asked for), what operating systems leave behind, what an
`exclude` glob fits, and index folders. Links are followed; a folder is entered once, so that loops
of links are harmless. Names are kept as they are, also those that are not valid UTF-8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from cbir.errors import UsageError
from cbir.types import Failure, ImageRef

SUFFIXES = frozenset(
    "jpg jpeg jpe jfif mpo png apng gif webp bmp dib tif tiff avif heic heif hif ppm pgm pbm pnm "
    "tga ico icns pcx sgi rgb jp2 j2k jpx jpf qoi dds".split()
)
JUNK = frozenset(
    name.lower()
    for name in (
        "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information",
        "__MACOSX", "@eaDir", "lost+found", "Icon\r",
    )
)  # fmt: skip
HEAD_BYTES = 32
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0",
    b"MM\0+", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"qoif", b"DDS ", b"icns",
)  # fmt: skip
_BRANDS = frozenset(
    (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan leaves out.

    exclude         globs, matched (with case) against names, and paths relative to the root
    include_hidden  also files and folders whose name begins with a dot
    skip_dirs       absolute folders that are never entered
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    skip_dirs: tuple[str, ...] = ()


@dataclass(slots=True)
class Scan:
    """What was found below a root.

    `refs` are sorted by path; `failures` are files that could not be looked at; `ignored` counts
    files that are no images; `unreadable` are relative folders that could not be listed, below
    which nothing can be said to be gone.
    """

    refs: list[ImageRef] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    ignored: int = 0
    unreadable: list[str] = field(default_factory=list)


def is_image_head(head: bytes) -> bool:
    """Whether the first bytes of a file (32 are enough) are those of an image format."""
    if head.startswith(_SIGNATURES):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in _BRANDS
    return head[:2] == b"BM" and head[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x6c\0\0\0",
                                                 b"\x7c\0\0\0")  # fmt: skip


def scan(root: str, options: ScanOptions | None = None) -> Scan:
    """All candidates below `root`, with sizes and times.

    Raises UsageError where the root is no folder, or cannot be listed.
    """
    walk = _Walk(root, options or ScanOptions())
    try:
        walk.run()
    except NotADirectoryError:
        raise UsageError(f"Expected a folder with images; {root} is a file.") from None
    except FileNotFoundError:
        raise UsageError(f"Expected a folder with images; there is nothing at {root}.") from None
    except OSError as error:
        raise UsageError(f"The folder {root} cannot be read ({error.strerror}).") from None
    walk.found.refs.sort(key=lambda ref: ref.path)
    return walk.found


class _Walk:
    """One scan: a stack of folders, and the real folders that were entered."""

    def __init__(self, root: str, options: ScanOptions) -> None:
        self.root = os.path.abspath(root)
        self.options = options
        self.found = Scan()
        self._entered: set[tuple[int, int]] = set()
        self._skip = {os.path.realpath(folder) for folder in options.skip_dirs}

    def run(self) -> None:
        stack = [""]
        while stack:
            relative = stack.pop()
            stack.extend(reversed(list(self._folder(relative))))

    def _folder(self, relative: str) -> Iterator[str]:
        """Take in one folder's files; yields its subfolders, in order."""
        path = os.path.join(self.root, *relative.split("/")) if relative else self.root
        try:
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not relative:
                raise
            self.found.failures.append(Failure(path, f"folder cannot be read ({error.strerror})"))
            self.found.unreadable.append(relative)
            return
        names = {entry.name for entry in listed}
        if "catalog.sqlite" in names and names & {"ann", "writer.lock"}:
            return  # an index folder
        for entry in listed:
            below = f"{relative}/{entry.name}" if relative else entry.name
            if self._left_out(entry.name, below):
                continue
            folder = self._take(entry, below)
            if folder is not None:
                yield folder

    def _left_out(self, name: str, relative: str) -> bool:
        if name.lower() in JUNK or name.startswith("._"):
            return True
        if name.startswith(".") and not self.options.include_hidden:
            return True
        return any(
            fnmatchcase(name, glob.rstrip("/")) or fnmatchcase(relative, glob.rstrip("/"))
            for glob in self.options.exclude
        )

    def _take(self, entry: os.DirEntry[str], relative: str) -> str | None:
        """Take in a file; a folder that is to be entered is returned."""
        try:
            status = entry.stat()
        except OSError as error:
            if entry.is_symlink():
                self.found.ignored += 1  # a link to nothing
            else:
                self._fail(entry.path, error)
            return None
        if stat.S_ISDIR(status.st_mode):
            return relative if self._enter(entry, status) else None
        if not stat.S_ISREG(status.st_mode):
            self.found.ignored += 1  # a pipe, a socket, a device: never opened
            return None
        if not self._candidate(entry):
            self.found.ignored += 1
            return None
        self.found.refs.append(ImageRef(self.root, relative, status.st_size, status.st_mtime_ns))
        return None

    def _enter(self, entry: os.DirEntry[str], status: os.stat_result) -> bool:
        """Whether this real folder is entered: once, and not where it is to be skipped."""
        if not self._entered:
            top = os.stat(self.root)
            self._entered.add((top.st_dev, top.st_ino))
        real = (status.st_dev, status.st_ino)
        if real in self._entered or os.path.realpath(entry.path) in self._skip:
            return False
        self._entered.add(real)
        return True

    def _candidate(self, entry: os.DirEntry[str]) -> bool:
        suffix = os.path.splitext(entry.name)[1][1:].lower()
        if suffix in SUFFIXES:
            return True
        try:
            with open(entry.path, "rb") as file:
                return is_image_head(file.read(HEAD_BYTES))
        except OSError:
            return False  # not called an image, and cannot be looked at

    def _fail(self, path: str, error: OSError) -> None:
        self.found.failures.append(Failure(path, f"cannot be read ({error.strerror})"))
