from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbir.present.records import to_csv, to_json, to_jsonl, to_paths
from cbir.types import Hit, Ranking

any_text = st.text(st.characters(exclude_categories=()))
names = st.binary(min_size=1).map(os.fsdecode)
hits = st.builds(
    Hit,
    rank=st.integers(1, 1000),
    id=st.integers(1, 2**62),
    path=names,
    score=st.floats(-1, 1),
    match=st.none() | st.floats(0, 1),
    identical=st.booleans(),
    metadata=st.dictionaries(any_text, any_text, max_size=3),
)
rankings = st.builds(
    Ranking,
    query=any_text,
    hits=st.lists(hits, max_size=4).map(tuple),
    index=any_text,
    took_ms=st.floats(0, 1e6),
)


def strict(text: str) -> Any:
    """Parse as a strict reader does: no NaN, no infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text.encode("utf-8"), parse_constant=refuse)


def test_json_of_one_query() -> None:
    hit = Hit(1, 12, "/photos/日本.jpg", 0.12345678, 0.5, True, {"label": "cat"})
    text = to_json([Ranking("q.jpg", (hit,), "index_data/default", 12.34567)])
    assert text.endswith("}\n")
    assert text.isascii()
    assert strict(text) == {
        "query": "q.jpg",
        "index": "index_data/default",
        "took_ms": 12.346,
        "hits": [
            {
                "rank": 1,
                "id": 12,
                "path": "/photos/日本.jpg",
                "score": 0.123457,
                "match": 0.5,
                "identical": True,
                "metadata": {"label": "cat"},
            }
        ],
    }


def test_json_is_an_array_for_no_and_for_several_queries() -> None:
    ranking = Ranking("q.jpg", (), "i", 1.0)
    assert strict(to_json([])) == []
    assert [r["query"] for r in strict(to_json([ranking, ranking]))] == ["q.jpg", "q.jpg"]


def test_json_takes_numpy_numbers_and_has_no_nan() -> None:
    hits = (
        Hit(np.int64(1), np.int64(5), "a", np.float32(0.1), np.float32(0.2)),
        Hit(2, 6, "b", math.nan, math.inf),
        Hit(3, 7, "c", -0.0),
    )
    found = strict(to_json([Ranking("q", hits, "i", math.nan)]))
    assert [hit["score"] for hit in found["hits"]] == [0.1, None, 0.0]
    assert [hit["match"] for hit in found["hits"]] == [0.2, None, None]
    assert "-0.0" not in to_json([Ranking("q", hits, "i", 1.0)])
    assert found["took_ms"] is None


@given(st.lists(rankings, max_size=3))
def test_json_keeps_every_name(found: list[Ranking]) -> None:
    lines = to_jsonl(found).splitlines()
    parsed = [strict(line) for line in lines]
    whole = strict(to_json(found))
    assert parsed == (whole if isinstance(whole, list) else [whole])
    assert len(parsed) == len(found)
    for ranking, read in zip(found, parsed, strict=True):
        for hit, back in zip(ranking.hits, read["hits"], strict=True):
            back["path"].encode("utf-8")
            exact = (
                base64.b64decode(back["path_bytes"])
                if "path_bytes" in back
                else os.fsencode(back["path"])
            )
            assert exact == os.fsencode(hit.path)
            assert back["score"] == pytest.approx(hit.score, abs=5.1e-7)


def test_path_bytes_only_where_needed() -> None:
    hits = (Hit(1, 1, "/a\udcff.jpg", 1.0), Hit(2, 2, "/é.jpg", 0.5))
    bad, good = strict(to_json([Ranking("q\udcfe", hits, "i", 1.0)]))["hits"]
    assert bad["path"] == "/a\\xff.jpg"
    assert base64.b64decode(bad["path_bytes"]) == b"/a\xff.jpg"
    assert "path_bytes" not in good


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_reads_it() -> None:
    name = "/a\udcff\n\x1b😀.jpg"
    hits = (Hit(1, 1, name, 1.0, None, False, {"k\ud800": "v"}),)
    text = to_json([Ranking("q\udcfe", hits, "i", 1.0)])
    done = subprocess.run(
        ["jq", "-r", ".hits[0].path_bytes"],
        input=text.encode("utf-8"),
        capture_output=True,
        check=True,
    )
    assert base64.b64decode(done.stdout) == os.fsencode(name)


def read_csv(text: str) -> list[list[str]]:
    text.encode("utf-8")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv() -> None:
    first = Hit(1, 12, '/a,"b".jpg', 0.5, 0.25, True, {"label": "cat\r\nx", "path": "p"})
    second = Hit(2, 13, "/b.jpg", 0.25, None, False, {"year": "2024"})
    text = to_csv([Ranking("q.jpg", (first, second), "i", 1.0)])
    assert text.endswith("\r\n")
    assert read_csv(text) == [
        [
            "query",
            "rank",
            "id",
            "score",
            "match",
            "identical",
            "path",
            "label",
            "metadata_path",
            "year",
        ],
        ["q.jpg", "1", "12", "0.5", "0.25", "true", '/a,"b".jpg', "cat\r\nx", "p", ""],
        ["q.jpg", "2", "13", "0.25", "", "false", "/b.jpg", "", "", "2024"],
    ]


def test_csv_without_hits_is_the_header() -> None:
    header = "query,rank,id,score,match,identical,path\r\n"
    assert to_csv([]) == header
    assert to_csv([Ranking("q", (), "i", 1.0)]) == header


def test_csv_names_of_metadata_never_repeat() -> None:
    metadata = {"metadata_path": "1", "path": "2", "metadata_metadata_path": "3", "rank": "4"}
    header, row = read_csv(
        to_csv([Ranking("q", (Hit(1, 1, "p", 1.0, metadata=metadata),), "i", 1)])
    )
    assert len(set(header)) == len(header)
    named = dict(zip(header, row, strict=True))
    assert named["path"] == "p"
    assert named["metadata_path"] == "1"
    assert named["metadata_rank"] == "4"


@given(st.lists(rankings, max_size=3))
def test_csv_round_trip(found: list[Ranking]) -> None:
    header, *rows = read_csv(to_csv(found))
    expected = [(ranking, hit) for ranking in found for hit in ranking.hits]
    assert len(rows) == len(expected)
    for row, (ranking, hit) in zip(rows, expected, strict=True):
        assert len(row) == len(header)
        assert int(row[2]) == hit.id
        assert float(row[3]) == pytest.approx(hit.score, abs=5.1e-7)
        assert row[5] == ("true" if hit.identical else "false")
        if ranking.query.isascii():
            assert row[0] == ranking.query
        if hit.path.isascii():
            assert row[6] == hit.path


@given(st.lists(st.binary(min_size=1).filter(lambda raw: b"\0" not in raw)))
def test_paths_are_the_exact_bytes(raw: list[bytes]) -> None:
    hits = tuple(Hit(i, i, os.fsdecode(name), 1.0) for i, name in enumerate(raw, start=1))
    ranking = Ranking("q", hits, "i", 1.0)
    assert to_paths([ranking], null=True).split(b"\0") == [*raw, b""]
    assert to_paths([ranking, ranking]) == b"".join(name + b"\n" for name in raw) * 2


def test_json_of_an_asked_match() -> None:
    near = Hit(1, 7, "/photos/a.jpg", 0.61234567, 0.3123456789)
    found = json.loads(to_json([Ranking("q", (), "/i", 1.0, (), 0.95, near)]))
    assert found["min_match"] == 0.95 and found["hits"] == []
    assert found["nearest"]["path"] == "/photos/a.jpg"
    assert (found["nearest"]["score"], found["nearest"]["match"]) == (0.612346, 0.312346)
    none = json.loads(to_jsonl([Ranking("q", (), "/i", 1.0, (), 0.95, None)]))
    assert none["nearest"] is None and none["min_match"] == 0.95
    plain = json.loads(to_json([Ranking("q", (near,), "/i", 1.0)]))
    assert "min_match" not in plain and "nearest" not in plain
