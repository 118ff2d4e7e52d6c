"""A folder → the files in it that may be images.

A file is one where its suffix is that of an image, or where its first bytes are: content decides,
not the name. So a JPEG without a suffix is found, and HTML that is called .jpg is found too: it
becomes a failure when it is decoded, and is not lost in silence.

Left out: hidden files and folders (unless asked for), what operating systems leave behind, what an
`exclude` glob fits, and index folders. Links are followed; a real folder is entered once, so that
loops of links are harmless, and under its own path where it has one below the root: links wait
until the rest is done. Pipes, sockets and devices are never opened. Names are kept as they are,
also those that are not valid UTF-8.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
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
        "Thumbs.db", "ehthumbs.db", "desktop.ini", ".DS_Store", "Icon\r", "$RECYCLE.BIN",
        "System Volume Information", "__MACOSX", "@eaDir", "#recycle", "lost+found",
    )
)  # fmt: skip
CATALOG = "catalog.sqlite"
INDEX_PARTS = frozenset(("ann", "embedder", "writer.lock"))
"""An index folder holds the catalog and at least one of these; it has no pictures of its own."""

HEAD_BYTES = 64
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0",
    b"MM\0+", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"qoif", b"DDS ", b"icns",
)  # fmt: skip
_BRANDS = frozenset(
    (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
)
_NETPBM = re.compile(rb"P[1-6]\s+(#|[0-9]+\s)")
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan leaves out.

    exclude         globs, matched (with case) against names, and against paths: what fits a folder
                    leaves out all that is below it; "*" also stands for "/"
    include_hidden  also files and folders whose name begins with a dot
    skip_dirs       absolute folders that are never entered
    prefix          put before paths when globs are matched: where the scanned folder lies below
                    the one that the globs were written for, with "/"; "" where it is that one
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    skip_dirs: tuple[str, ...] = ()
    prefix: str = ""


@dataclass(slots=True)
class Scan:
    """What was found below a root.

    `refs` are sorted by path; `failures` are folders and files that could not be looked at;
    `ignored` counts files that are no images, and links to nothing; `excluded` counts the files and
    folders that a glob left out; `unreadable` are relative folders that could not be listed, and
    entries of which not even their kind is known: at and below them nothing can be said to be gone.
    """

    refs: list[ImageRef] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    ignored: int = 0
    excluded: int = 0
    unreadable: list[str] = field(default_factory=list)


def is_image_head(head: bytes) -> bool:
    """Whether the first bytes of a file (64 are enough) are those of an image format."""
    if head.startswith(_SIGNATURES) or _NETPBM.match(head):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4]), HEAD_BYTES)
        return any(head[at : at + 4] in _BRANDS for at in (8, *range(16, end, 4)))
    return head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def scan(root: str, options: ScanOptions | None = None) -> Scan:
    """All candidates below `root`, with sizes and times.

    Raises UsageError where the root is no folder, cannot be listed, or is an index's own.
    """
    walk = _Walk(root, options or ScanOptions())
    try:
        walk.run()
    except NotADirectoryError:
        raise UsageError(f"Expected a folder with images; {root} is a file.") from None
    except FileNotFoundError:
        raise UsageError(f"Expected a folder with images; there is nothing at {root}.") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"Expected a folder with images; {root!r} cannot be read ({reason})."
        ) from None
    walk.found.refs.sort(key=lambda ref: ref.path)
    return walk.found


class _Walk:
    """One scan: folders to enter, links to folders that wait, real folders that were entered."""

    def __init__(self, root: str, options: ScanOptions) -> None:
        self.root = os.path.abspath(root)
        self.found = Scan()
        self._hidden = options.include_hidden
        self._globs = tuple(glob.rstrip("/") for glob in options.exclude)
        self._prefix = options.prefix.strip("/") + "/" if options.prefix.strip("/") else ""
        self._entered = set(_identities(options.skip_dirs))
        self._stack = [""]
        self._links: list[str] = []

    def run(self) -> None:
        """Take in everything; OSError where the root itself cannot be listed."""
        if _identity(self.root) in self._entered:
            raise _no_gallery(self.root)
        while self._stack or self._links:
            if not self._stack:
                self._links.sort(reverse=True)
                self._stack.append(self._links.pop())
            self._folder(self._stack.pop())

    def _folder(self, relative: str) -> None:
        """Take in one folder's files; its folders are put on the stack, in order."""
        path = self._absolute(relative)
        try:
            real = _identity(path)
            if real in self._entered:
                return
            self._entered.add(real)
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not relative:
                raise
            self._fail(relative, "folder cannot be read", error)
            return
        names = {entry.name for entry in listed}
        if CATALOG in names and names & INDEX_PARTS:
            if not relative:
                raise _no_gallery(path)
            return
        below = relative + "/" if relative else ""
        folders = [
            below + entry.name
            for entry in listed
            if not self._left_out(entry.name, below + entry.name)
            and self._take(entry, below + entry.name)
        ]
        self._stack.extend(reversed(folders))

    def _absolute(self, relative: str) -> str:
        return os.path.join(self.root, *relative.split("/")) if relative else self.root

    def _left_out(self, name: str, relative: str) -> bool:
        if name.lower() in JUNK or name.startswith("._"):
            return True
        if name.startswith(".") and not self._hidden:
            return True
        whole = self._prefix + relative
        fits = any(fnmatchcase(name, glob) or fnmatchcase(whole, glob) for glob in self._globs)
        self.found.excluded += fits
        return fits

    def _take(self, entry: os.DirEntry[str], relative: str) -> bool:
        """Take in a file; True for a folder that is to be entered now."""
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno not in _GONE:
                self._fail(relative, "cannot be read", error)
            else:  # a link to nothing, or removed a moment ago
                self.found.ignored += 1
            return False
        if stat.S_ISDIR(status.st_mode):
            if entry.is_symlink():
                self._links.append(relative)
                return False
            return True
        if stat.S_ISREG(status.st_mode) and _candidate(entry):
            ref = ImageRef(self.root, relative, status.st_size, _time(status))
            self.found.refs.append(ref)
        else:
            self.found.ignored += 1
        return False

    def _fail(self, relative: str, what: str, error: OSError) -> None:
        reason = f"{what} ({error.strerror or error})"
        self.found.failures.append(Failure(self._absolute(relative), reason))
        self.found.unreadable.append(relative)


def _candidate(entry: os.DirEntry[str]) -> bool:
    """Whether a regular file may be an image, by its suffix or its first bytes.

    So may one whose first bytes cannot be had: loading it then says why it cannot be read.
    """
    if os.path.splitext(entry.name)[1][1:].lower() in SUFFIXES:
        return True
    try:
        with open(entry.path, "rb") as file:
            return is_image_head(file.read(HEAD_BYTES))
    except OSError as error:
        return error.errno not in _GONE


def _no_gallery(folder: str) -> UsageError:
    return UsageError(
        f"Expected a folder with images; {folder} is the folder of an index. Give the index a "
        "folder of its own, which may lie below that of the images."
    )


def _identity(path: str) -> object:
    """What tells a real folder from all others, whatever path leads there."""
    status = os.stat(path)  # a DirEntry's own stat has no inode on Windows
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _identities(folders: Iterable[str]) -> Iterator[object]:
    for folder in folders:
        try:
            yield _identity(folder)
        except OSError:  # not there, so never entered
            continue


def _time(status: os.stat_result) -> int:
    """When a file was changed, ns; kept within 64 bits, which end in the year 2262."""
    return max(-(2**63), min(2**63 - 1, status.st_mtime_ns))
