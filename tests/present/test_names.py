from __future__ import annotations

import base64
import os
import sys
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbir.present.names import (
    display_width,
    file_url,
    name_base64,
    name_bytes,
    pad,
    query_name,
    short_path,
    valid_unicode,
    visible,
)
from cbir.types import Ranking

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates as well
posix = pytest.mark.skipif(sys.platform == "win32", reason="file names are bytes on POSIX only")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat.jpg", "cat.jpg"),
        ("a b.jpg", "a b.jpg"),
        ("Zürich 日本 😀.jpg", "Zürich 日本 😀.jpg"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("bad\udcff", "bad\\xff"),
        ("half\ud800", "half\\ud800"),
        ("x\u202egpj.exe", "x\\u202egpj.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("\U000e0041", "\\U000e0041"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(any_text)
def test_visible_is_one_printable_line(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    joiners = {"\u200c", "\u200d"}
    assert all(unicodedata.category(c)[0] != "C" or c in joiners or _unassigned(c) for c in shown)
    assert visible(shown) == shown


def _unassigned(char: str) -> bool:
    return unicodedata.category(char) in {"Cn", "Co"}


@given(any_text)
def test_valid_unicode_changes_surrogates_only(text: str) -> None:
    valid = valid_unicode(text)
    valid.encode("utf-8")
    if not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert valid == text


@posix
@given(st.binary())
def test_name_bytes_are_exact(raw: bytes) -> None:
    assert name_bytes(os.fsdecode(raw)) == raw
    assert base64.b64decode(name_base64(os.fsdecode(raw))) == raw


def test_name_bytes_of_an_impossible_name() -> None:
    assert name_bytes("a\ud800") == b"a\xed\xa0\x80"


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("cat", 3),
        ("é", 1),
        ("e\u0301", 1),
        ("日本", 4),
        ("😀", 2),
        ("❤\ufe0f", 2),
        ("👩\u200d🚀x", 3),
        ("ｗ", 2),
    ],
)
def test_display_width(text: str, width: int) -> None:
    assert display_width(text) == width


def test_pad_by_columns() -> None:
    assert pad("日本", 6) == "日本  "
    assert pad("日本", 6, right=True) == "  日本"
    assert pad("too long", 3) == "too long"


def test_short_path(tmp_path: Path) -> None:
    inside = str(tmp_path / "a" / "b.jpg")
    assert short_path(inside, str(tmp_path)) == os.path.join("a", "b.jpg")
    outside = os.path.join(os.path.abspath(os.sep), "x.jpg")
    assert short_path(outside, str(tmp_path)) == outside  # ../../x.jpg is longer
    assert short_path("relative.jpg", str(tmp_path)) == "relative.jpg"


def test_short_path_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(os.path.join(os.getcwd(), "b.jpg")) == "b.jpg"


@posix
def test_short_path_where_the_current_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert short_path("/x/y.jpg") == "/x/y.jpg"


@posix
@given(st.binary(min_size=1).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_file_url_leads_back_to_the_bytes(name: bytes) -> None:
    if name in (b".", b".."):
        return
    url = file_url("/photos/" + os.fsdecode(name))
    assert url is not None
    assert url.isascii()
    assert not set(url) & set("\"'<>#?&{} \n") - {"&", "'"}
    assert unquote_to_bytes(url.removeprefix("file://")) == b"/photos/" + name


def test_file_url_of_other_paths() -> None:
    assert file_url("relative.jpg") is None
    assert file_url("-") is None


@pytest.mark.parametrize(
    ("query", "files", "expected"),
    [
        ("/photos/cat.jpg", ("/photos/cat.jpg",), "cat.jpg"),
        ("cat.jpg", (), "cat.jpg"),
        ("-", (), "standard input"),
        ("id:12", ("/photos/cat.jpg",), "id:12"),
        ("a.jpg + b.jpg", ("/a.jpg", "/b.jpg"), "2 pictures combined"),
        ("photos/", (), "photos/"),
    ],
)
def test_query_name(query: str, files: tuple[str, ...], expected: str) -> None:
    assert query_name(Ranking(query, (), "index", 1.0, files)) == expected
