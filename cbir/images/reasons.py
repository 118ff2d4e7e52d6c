"""Why a file is no picture that can be used, in one line for people."""

from __future__ import annotations

import errno
import struct

_ENDS_EARLY = ("truncated", "unexpected end", "not enough image data", "expected to read")


def not_an_image(head: bytes) -> str:
    """Why the bytes are no picture, as far as the first ones tell."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "not an image: it is HTML"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"svg" in text):
        return "not supported: SVG is a vector format"
    if text.startswith(b"%pdf"):
        return "not supported: PDF is a document format"
    if text.startswith(b"%!ps"):
        return "not supported: PostScript is a vector format"
    if text.startswith((b"<?xml", b"{", b"[")):
        return "not an image: it is text"
    if head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"heic", b"mif1", b"heix", b"avis"):
        return "not supported: it is a video"
    if head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return "not supported: it is a video"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "not an image: it is text"
    return "not an image that can be read: damaged, or of a format that is not known"


def why(error: Exception) -> str:
    """One line that says why a picture cannot be read or decoded."""
    text = one_line(error)
    cut = isinstance(error, struct.error | EOFError | IndexError)
    if cut or any(words in text.lower() for words in _ENDS_EARLY):
        return "truncated: the file ends early"
    if is_passing(error):
        return f"cannot be read ({getattr(error, 'strerror', None) or text})"
    return f"damaged: {text}"


def is_passing(error: Exception) -> bool:
    """Whether reading failed, and not decoding, so that the file may be sound.

    Pillow's own errors have no number; EINVAL: a damaged file points to a place that no file has.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def one_line(error: BaseException) -> str:
    """The first line of an error's message; its kind where there is none."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
