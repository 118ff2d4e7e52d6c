"""The values that are handed from room to room."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]  # (h, w, 3) or (n, h, w, 3), RGB, 0..255
Vectors: TypeAlias = NDArray[np.float32]  # (n, d), one row an image
Ids: TypeAlias = NDArray[np.int64]  # (n,), image ids of the catalog
ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | Pixels | int"


@dataclass(frozen=True, slots=True, order=True)
class ImageRef:
    """A file that may be an image: where it is, and what tells whether it changed.

    `root` is absolute; `path` is relative to it, with "/" between its parts. Names that are not
    valid UTF-8 carry surrogate escapes (as `os.fsdecode` makes them), so that nothing is lost.
    """

    root: str
    path: str
    size: int
    mtime_ns: int

    @property
    def file(self) -> str:
        """The file's absolute path."""
        return os.path.join(self.root, *self.path.split("/"))


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be used, and why. Never a log line, never None.

    `passing`: the file itself may be sound (it vanished, or could not be read just now), so the
    failure is not remembered, and what is known of the file stays.
    """

    path: str
    reason: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture as RGB, upright.

    `pixels` is uint8 (h, w, 3), perhaps at a reduced scale; `width` and `height` are those of the
    whole upright picture in the file; `format` is Pillow's name of the format ("JPEG", "PNG", ...).
    """

    pixels: Pixels
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A file made ready for the embedder.

    `content` is the 16-byte hash of the file's bytes. `pixels` is uint8 (s, s, 3), or None where
    the caller said that this content is known already, so that nothing was decoded (`width` and
    `height` are 0 and `format` is "" then).
    """

    ref: ImageRef
    content: bytes
    pixels: Pixels | None
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: an image of the gallery.

    `rank` starts at 1. `score` is the cosine in [-1, 1], larger is nearer. `match` is the
    calibrated probability that both show the same thing, None where nothing is calibrated.
    `identical` says that the file's content is the query's, byte for byte. `path` is absolute.
    """

    rank: int
    id: int
    path: str
    score: float
    match: float | None = None
    identical: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ordered hits of one query.

    `query` names it for people: a path, "-" or "id:12", several joined by " + ".
    `files` are the query's picture files, where there are any (a page shows them).
    `min_match` is the match that was asked for, None where none was; `nearest` is then the nearest
    image, even where it does not match.
    """

    query: str
    hits: tuple[Hit, ...]
    index: str
    took_ms: float
    files: tuple[str, ...] = ()
    min_match: float | None = None
    nearest: Hit | None = None

    @property
    def no_match(self) -> bool:
        """Whether the answer is: nothing in this gallery matches."""
        return self.min_match is not None and not self.hits
