"""Where-terms: every operator, on the gallery's own columns and on metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import CatalogWriter, NewContent, NewFile, create_catalog
from cbir.errors import UsageError
from cbir.query import allowed_ids, match_metadata, parse_term
from cbir.types import ImageRef

ROWS = [
    ("a/one.jpg", 100, "JPEG", {"split": "train", "price": "10"}),
    ("a/two.png", 200, "PNG", {"split": "val", "price": "9.5"}),
    ("b/three.jpg", 300, "JPEG", {"split": "test", "price": "cheap"}),
    ("b/c/four.jpg", 400, "JPEG", {}),
]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[CatalogWriter]:
    create_catalog(str(tmp_path / "index"))
    with CatalogWriter(str(tmp_path / "index")) as writer:
        with writer.writing() as seq:
            root = writer.add_root(str(tmp_path), {})
            embedder = writer.add_embedder("f", "{}", 1)
            for i, (path, width, kind, _) in enumerate(ROWS):
                feature = np.ones(1, np.float32)
                writer.put_contents(embedder, [NewContent(bytes([i]), width, 9, kind, feature)])
                ref = ImageRef(str(tmp_path), path, 1, 1)
                writer.put_files(seq, [NewFile(root, ref, bytes([i]))])
            writer.put_metadata({i: m for i, (*_, m) in enumerate(ROWS, start=1) if m})
        yield writer


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["split=train"], [1]),
        (["split=train,val"], [1, 2]),
        (["split = train , val"], [1, 2]),
        (["split!=test"], [1, 2, 4]),
        (["split!=test,train"], [2, 4]),
        (["price>=9.5"], [1, 2]),
        (["price>9.5"], [1]),
        (["price<10"], [2]),
        (["price<=10"], [1, 2]),
        (["path~a/*"], [1, 2]),
        (["path~*.jpg"], [1, 3, 4]),
        (["path~*.JPG"], []),
        (["path~b/*.jpg"], [3, 4]),
        (["path=a/two.png"], [2]),
        (["format=JPEG", "width>100"], [3, 4]),
        (["height=9"], [1, 2, 3, 4]),
        (["split~t*"], [1, 3]),
        (["split="], []),
    ],
)
def test_terms(catalog: CatalogWriter, where: list[str], expected: list[int]) -> None:
    found = allowed_ids(catalog, where)
    assert found is not None and found.dtype == np.int64 and found.tolist() == expected


def test_no_terms_allow_everything(catalog: CatalogWriter) -> None:
    assert allowed_ids(catalog, []) is None


def test_metadata_of_one_search_hides_the_stored(catalog: CatalogWriter) -> None:
    extra = {4: {"split": "train", "shop": "x"}}
    assert allowed_ids(catalog, ["split=train"], extra).tolist() == [4]  # type: ignore[union-attr]
    assert allowed_ids(catalog, ["shop=x"], extra).tolist() == [4]  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "split", "=x", "price>cheap", "price>=", "~x"])
def test_what_is_no_term_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="where: expected"):
        parse_term(text)


def test_an_unknown_column_lists_the_known(catalog: CatalogWriter) -> None:
    with pytest.raises(UsageError, match="format, height, path, price, split, width"):
        allowed_ids(catalog, ["colour=red"])


def test_metadata_is_matched_by_path(catalog: CatalogWriter, tmp_path: Path) -> None:
    table = tmp_path / "a" / "meta.csv"
    table.parent.mkdir()
    table.write_text(
        '﻿path,label\none.jpg,hat\n../b/three.jpg,"a, b"\n\nnone.jpg,x\n'
        f"{tmp_path}/b/c/four.jpg,shoe\n"
    )
    found = match_metadata(catalog, str(table))
    assert found.rows == {1: {"label": "hat"}, 3: {"label": "a, b"}, 4: {"label": "shoe"}}
    assert [Path(p).name for p in found.unmatched] == ["none.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "received nothing"),
        ("file,label\nx,y\n", "one of them path"),
        ("path,a,a\nx,y,z\n", "different column names"),
        ("path,label\nx\n", "expected 2 values in line 2"),
        ('path,label\nx,"y\n', "not a CSV"),
    ],
)
def test_a_bad_table_is_said(
    catalog: CatalogWriter, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        match_metadata(catalog, str(tmp_path / "meta.csv"))
