from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbir.present.names import display_width
from cbir.present.text import columns, failures_table, pairs, table
from cbir.types import Failure, Hit, Ranking

any_text = st.text(st.characters(exclude_categories=()))


def test_table(tmp_path: Path) -> None:
    hits = (
        Hit(1, 7, str(tmp_path / "a.jpg"), 1.0, 0.991, identical=True),
        Hit(2, 3, str(tmp_path / "sub" / "b c.jpg"), 0.9126, None),
        Hit(10, 4, "/x.jpg", -0.05, 0.5),
    )
    text = table([Ranking("q.jpg", hits, "index_data/default", 12.34)], base=str(tmp_path))
    assert text == (
        "q.jpg  index_data/default  3 hits  12.3 ms\n"
        "rank   score  match             path\n"
        "   1   1.000    99%  identical  a.jpg\n"
        "   2   0.913      -             sub/b c.jpg\n"
        "  10  -0.050    50%             /x.jpg\n"
    )


def test_table_without_match_and_mark() -> None:
    text = table([Ranking("q.jpg", (Hit(1, 7, "a.jpg", 0.5),), "i", 1500)])
    assert text == "q.jpg  i  1 hit  1.5 s\nrank  score  path\n   1  0.500  a.jpg\n"


def test_table_without_hits() -> None:
    assert table([Ranking("q.jpg", (), "i", 1)]) == "q.jpg  i  0 hits  1.0 ms\n  no hits\n"
    assert table([]) == ""


def test_table_of_several_queries_has_an_empty_line_between() -> None:
    ranking = Ranking("q.jpg", (Hit(1, 7, "a.jpg", 0.5),), "i", 1)
    assert table([ranking, ranking]) == table([ranking]) + "\n" + table([ranking])


def test_table_breaks_a_long_heading_and_never_cuts_a_path() -> None:
    long = "/photos/" + "x" * 200 + ".jpg"
    lines = table([Ranking(long, (Hit(1, 7, long, 0.5),), "i", 1)], base="/elsewhere").splitlines()
    assert lines[0] == long
    assert lines[1] == "  i  1 hit  1.0 ms"
    assert lines[3] == f"   1  0.500  {long}"


@given(st.lists(any_text, min_size=1, max_size=4), any_text)
def test_table_has_one_printable_line_a_hit(paths: list[str], query: str) -> None:
    hits = tuple(Hit(i, i, path, 0.5) for i, path in enumerate(paths, start=1))
    text = table([Ranking(query, hits, query, 1.0)])
    text.encode("utf-8")
    assert "\x1b" not in text
    lines = text.splitlines()
    header = lines.index("rank  score  path")
    assert len(lines) - header - 1 == len(paths)


def test_columns() -> None:
    text = columns(
        ["name", "images", "日本", "score", "ready"],
        [["a", 12345, "日本語", 0.5, True], ["longer", None, "x", None, False]],
    )
    assert text == (
        "name    images  日本    score  ready\n"
        "a       12,345  日本語  0.500  yes\n"
        "longer       -  x           -  no\n"
    )


def test_columns_without_rows() -> None:
    assert columns(["a", "b"], []) == "a  b\n"


def test_columns_of_unequal_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        columns(["a", "b"], [["only one"]])


def test_columns_escape() -> None:
    assert columns(["a"], [["x\ny"]]) == "a\nx\\ny\n"


@given(st.lists(st.tuples(any_text, st.integers()), min_size=1, max_size=5))
def test_columns_are_aligned(rows: list[tuple[str, int]]) -> None:
    lines = columns(["name", "number"], rows).splitlines()
    assert len(lines) == len(rows) + 1
    assert len({display_width(line) for line in lines}) == 1  # numbers end at the right edge


def test_pairs() -> None:
    text = pairs("Index\x07", [("images", 5123), ("embedder", "lite0"), ("note", "")])
    assert text == "Index\\x07\n  images    5,123\n  embedder  lite0\n  note\n"
    assert pairs("Index", []) == "Index\n"


def test_failures_table() -> None:
    long = "/photos/" + "x" * 60 + ".jpg"
    failures = [
        Failure("a.jpg", "not a picture"),
        Failure(long, "cut\noff"),
        Failure("bb.jpg", "c"),
    ]
    assert failures_table(failures, base="/") == (
        f"a.jpg   not a picture\nphotos/{'x' * 60}.jpg\n    cut\\noff\nbb.jpg  c\n"
    )


def test_failures_table_limit() -> None:
    failures = [Failure(f"{i}.jpg", "r") for i in range(1300)]
    assert failures_table(failures, limit=1) == "0.jpg  r\n... and 1,299 more\n"
    assert failures_table(failures, limit=0) == "... and 1,300 more\n"
    assert failures_table(failures).count("\n") == 21
    assert failures_table(failures, limit=None).count("\n") == 1300
    assert failures_table([]) == ""


def nothing(**changes: object) -> Ranking:
    """A ranking whose nearest image does not match well enough."""
    near = Hit(1, 7, "/photos/a.jpg", 0.6123, 0.312)
    whole = {"min_match": 0.95, "nearest": near, **changes}
    return Ranking("q.jpg", (), "i", 1.0, **whole)  # type: ignore[arg-type]


def test_table_says_that_nothing_matches() -> None:
    assert table([nothing()], base="/photos") == (
        "q.jpg  i  0 hits  1.0 ms\n"
        "  no match in this gallery at 95% or above; nearest: a.jpg, match 31%, score 0.612\n"
    )


def test_table_without_a_nearest_has_no_hits() -> None:
    for ranking in (nothing(nearest=None), nothing(min_match=None)):
        assert table([ranking]).endswith("\n  no hits\n")


@given(any_text)
def test_a_nearest_name_cannot_write_to_the_terminal(path: str) -> None:
    text = table([nothing(nearest=Hit(1, 1, path, 0.5, 0.2))])
    assert text.count("\n") == 2 and "\x1b" not in text
