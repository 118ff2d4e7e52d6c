"""Reasons that people can read."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from cbir.images.reasons import is_passing, not_an_image, one_line, why


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"<!DOCTYPE html>", "it is HTML"),
        (b"\xef\xbb\xbf \r\n<html>", "it is HTML"),
        (b"<svg>", "SVG"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b"<?xml version='1.0'?><rss>", "it is text"),
        (b'{"a": 1}', "it is text"),
        (b"plain words", "it is text"),
        (b"%PDF-1.7\xe2", "PDF"),
        (b"%!PS-Adobe", "PostScript"),
        (b"\0\0\0\x18ftypmp42", "video"),
        (b"\0\0\0\x18ftypqt  ", "video"),
        (b"\x1aE\xdf\xa3\1", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "damaged"),
        (b"\0\0\0\x18ftypavif", "damaged"),
        (b"\0\0\0\x18ftypheic", "damaged"),
        (b"\xff\xd8\xff", "damaged"),
    ],
)
def test_what_a_file_is_instead(head: bytes, word: str) -> None:
    assert word in not_an_image(head)


@pytest.mark.parametrize(
    ("error", "reason", "passing"),
    [
        (OSError("image file is truncated (3 bytes not processed)"), "truncated", False),
        (struct.error("unpack requires a buffer of 4 bytes"), "truncated", False),
        (EOFError(), "truncated", False),
        (IndexError("index out of range"), "truncated", False),
        (ValueError("not enough image data"), "truncated", False),
        (OSError("broken\ndata"), "damaged: broken", False),
        (KeyError(), "damaged: KeyError", False),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "cannot be read (Input/output", True),
        (FileNotFoundError(errno.ENOENT, "No such file"), "cannot be read (No such", True),
        (OSError(errno.EINVAL, "Invalid argument"), "damaged", False),
    ],
)
def test_why(error: Exception, reason: str, passing: bool) -> None:
    assert why(error).startswith(reason)
    assert is_passing(error) is passing


def test_one_line_is_short() -> None:
    assert one_line(ValueError("\n a\nb")) == "a"
    assert len(one_line(ValueError("x" * 999))) == 200
    assert one_line(ValueError()) == "ValueError"
