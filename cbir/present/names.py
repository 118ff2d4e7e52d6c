"""Names as people may safely see them: on a terminal, on a page, on a sheet.

A file name is any run of bytes: it may hold line breaks, terminal escape sequences, marks that
turn the direction of the text round, or bytes that are no UTF-8 at all. Here such characters
become backslash escapes, and nothing else is changed.
"""

from __future__ import annotations

import base64
import os
import unicodedata
from pathlib import Path

from cbir.types import Ranking

_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JOINER = "\u200d"
_JOINERS = {"\u200c", _JOINER}  # needed by emoji and by several scripts, harmless elsewhere
_EMOJI_STYLE = "\ufe0f"
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, surrogate, line and paragraph break
_NO_WIDTH = {"Mn", "Me", "Cf"}


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not decode
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""The text with everything invisible or harmful as an escape: `\n`, `\x1b`, `\u202e`.

    Bytes of a file name that are not UTF-8 are shown as `\xff`. The result can always be encoded
    as UTF-8, is one line, and moves no terminal's cursor. Existing backslashes stay single: this
    is for people, not a format to read back.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _SHORT_ESCAPES.get(char) or _escape(char)
        if unicodedata.category(char) in _ESCAPED and char not in _JOINERS
        else char
        for char in text
    )


def valid_unicode(text: str) -> str:
    r"""The text with only its surrogates escaped (`\xff`), so that it can be encoded as UTF-8."""
    if text.isascii():
        return text
    return "".join(_escape(c) if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def name_bytes(path: str) -> bytes:
    """The bytes of a name, exactly as the file system has them."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # no name of this file system; keep what there is
        return path.encode("utf-8", "surrogatepass")


def name_base64(path: str) -> str:
    """The exact bytes of a name as base64 text."""
    return base64.b64encode(name_bytes(path)).decode("ascii")


def display_width(text: str) -> int:
    """How many terminal columns the text fills: wide characters 2, combining marks 0.

    By the East Asian Width property (UAX 11). Emoji that a zero-width joiner ties together count
    as one. Terminals differ for emoji; this is what most modern ones do.
    """
    if text.isascii():
        return len(text)
    total = 0
    joined = False
    last = 0
    for char in text:
        if char == _EMOJI_STYLE and last == 1:
            total, last = total + 1, 2
        elif not joined or unicodedata.category(char) in _NO_WIDTH:
            width = _char_width(char)
            total, last = total + width, width or last
        joined = char == _JOINER
    return total


def _char_width(char: str) -> int:
    if unicodedata.category(char) in _NO_WIDTH or 0x1160 <= ord(char) <= 0x11FF:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def pad(text: str, width: int, right: bool = False) -> str:
    """The text filled with spaces to `width` terminal columns; `right`: aligned to the right."""
    fill = " " * max(0, width - display_width(text))
    return fill + text if right else text + fill


def short_path(path: str, base: str | None = None) -> str:
    """The path relative to the folder `base` (default: the current one) where that is shorter."""
    if not os.path.isabs(path):
        return path
    try:
        relative = os.path.relpath(path, base)
    except (OSError, ValueError):  # the current folder is gone; another drive; a NUL
        return path
    return relative if display_width(relative) < display_width(path) else path


def file_url(path: str) -> str | None:
    """The `file://` address of an absolute path, percent-encoded; None for any other path."""
    if not os.path.isabs(path):
        return None
    try:
        return Path(path).as_uri()
    except (UnicodeEncodeError, ValueError):  # no name that this file system can have
        return None


def query_name(ranking: Ranking) -> str:
    """A query's short name, without folders: `cat.jpg`, `3 pictures combined`, `id:12`."""
    if len(ranking.files) > 1:
        return f"{len(ranking.files)} pictures combined"
    if ranking.query == "-":
        return "standard input"
    return visible(os.path.basename(ranking.query) or ranking.query)
