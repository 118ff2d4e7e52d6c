"""Every source of ground truth, with what is relevant to each query written out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cbir.errors import UsageError
from cbir.evaluate.ground_truth import (
    Truth,
    from_folders,
    from_groups,
    from_labels,
    from_landmarks,
    from_manifest,
    read_manifest,
)
from tests.conftest import picture

MANIFEST = """path,label,split,shop
a/1.png,hat,train,x
a/2.png,hat,train,x
a/3.png,hat,test,y
b/1.png,shoe,train,x
b/2.png,shoe,test,y
c/1.png,bag,test,y
"""


def relevant(truth: Truth) -> dict[str, list[str]]:
    """Query → names of the relevant images."""
    return {
        "/".join(Path(truth.paths[q.image]).parts[-2:]): [
            "/".join(Path(truth.paths[truth.gallery[p]]).parts[-2:]) for p in q.relevant
        ]
        for q in truth.queries
    }


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    (tmp_path / "m.csv").write_text(MANIFEST)
    return str(tmp_path / "m.csv")


def test_a_split_against_another(manifest: str) -> None:
    truth = from_manifest(manifest, ["split=test"], ["split=train"])
    assert len(truth.gallery) == 3 and truth.without_relevant == 1
    assert relevant(truth) == {
        "a/3.png": ["a/1.png", "a/2.png"], "b/2.png": ["b/1.png"], "c/1.png": [],
    }  # fmt: skip
    assert all(q.own is None for q in truth.queries)
    assert Path(truth.paths[0]).is_absolute()
    only = from_manifest(manifest, ["label=shoe"], ["split=train"])
    assert [Path(p).name for p in only.paths] == ["1.png", "2.png", "1.png", "2.png"]
    assert only.gallery.tolist() == [0, 1, 2] and relevant(only)["b/2.png"] == ["b/1.png"]


def test_leave_one_out_names_the_query_by_place(manifest: str) -> None:
    truth = from_manifest(manifest)
    assert [q.own for q in truth.queries] == list(range(6))
    assert relevant(truth)["a/1.png"] == ["a/2.png", "a/3.png"]
    assert truth.without_relevant == 1


def test_a_query_in_the_gallery_is_not_its_own_answer(manifest: str) -> None:
    truth = from_manifest(manifest, ["label=hat"], ["split!=none"])
    assert [q.own for q in truth.queries] == [0, 1, 2]
    assert relevant(truth)["a/3.png"] == ["a/1.png", "a/2.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,split\nx,y\n", "columns path and label"),
        ("path,label\na,b\na,c\n", "comes twice"),
        ("path,label\na\n", "expected 2 values in line 2"),
        ("path,label\na,b,c\n", "expected 2 values in line 2"),
        ("path,label,label\na,b,c\n", "different column names"),
        ("label\nb\n", "one of them path"),
        ('path,label\n"a,b\n', "is not a CSV file"),
        ("path,label\n\0,b\n", "holds a NUL"),
    ],
)
def test_a_bad_manifest_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        from_manifest(str(tmp_path / "m.csv"))


def test_text_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_bytes("path,label\nmütze.png,hat\n".encode("latin-1"))
    with pytest.raises(UsageError, match="manifest: expected UTF-8 text in .*; line 2 is not"):
        from_manifest(str(file))
    file.write_bytes(b"\xef\xbb\xbf" + "path,label\r\nmütze.png,Hut \r\n".encode())
    assert read_manifest(str(file))[0].columns == {"path": "mütze.png", "label": "Hut"}


def test_another_column_has_the_labels(manifest: str) -> None:
    truth = from_manifest(manifest, label="shop")
    assert relevant(truth)["a/3.png"] == ["b/2.png", "c/1.png"]
    with pytest.raises(UsageError, match="columns path and colour"):
        from_manifest(manifest, label="colour")
    assert len(read_manifest(manifest, label=None)) == 6


def test_without_a_label_a_picture_is_a_distractor() -> None:
    truth = from_labels("t", list("abcd"), ["x", "", "", "x"], (range(4), range(4)))
    assert [q.relevant.tolist() for q in truth.queries] == [[3], [], [], [0]]
    assert len(truth.gallery) == 4 and truth.without_relevant == 2


def test_terms_that_fit_nothing_are_said(manifest: str) -> None:
    with pytest.raises(UsageError, match="no image fits split=none"):
        from_manifest(manifest, ["split=none"])
    with pytest.raises(UsageError, match="path, label, split, shop"):
        from_manifest(manifest, ["colour=red"])


def test_folders_are_classes(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(1).save(tmp_path / f"{name}.png")
    truth = from_folders(str(tmp_path))
    assert truth.labels == ("a", "a", "b")
    assert relevant(truth) == {"a/1.png": ["a/2.png"], "a/2.png": ["a/1.png"], "b/1.png": []}


def test_groups_keep_the_query(tmp_path: Path) -> None:
    for i in range(8):
        picture(i).save(tmp_path / f"{i}.png")
    truth = from_groups(str(tmp_path))
    assert [q.relevant.tolist() for q in truth.queries[3:5]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert all(q.own is None for q in truth.queries)
    with pytest.raises(UsageError, match="multiple of 3"):
        from_groups(str(tmp_path), 3)


@pytest.mark.parametrize(
    ("difficulty", "right", "junk"),
    [("easy", [1], [2, 3]), ("medium", [1, 2], [3]), ("hard", [2], [1, 3])],
)
def test_landmarks(tmp_path: Path, difficulty: str, right: list[int], junk: list[int]) -> None:
    data = {
        "gallery": ["g0.jpg", "g1.jpg", "g2.jpg", "g3.jpg", "g4.jpg"],
        "queries": [
            {"image": "q.jpg", "box": [1, 2, 30, 40], "easy": ["g1.jpg"], "hard": ["g2.jpg"],
             "junk": ["g3.jpg"]},
            {"image": "g4.jpg", "ok": ["g0.jpg", "g4.jpg"], "junk": []},
        ],
    }  # fmt: skip
    (tmp_path / "gnd.json").write_text(json.dumps(data))
    truth = from_landmarks(str(tmp_path / "gnd.json"), difficulty)  # type: ignore[arg-type]
    first, second = truth.queries
    assert first.relevant.tolist() == right and first.junk.tolist() == junk
    assert first.crop == "1,2,30,40" and first.own is None
    assert truth.paths[first.image] == str(tmp_path / "q.jpg")
    assert second.own == 4 and second.relevant.tolist() == [0] and second.crop is None


def test_bad_landmarks_are_said(tmp_path: Path) -> None:
    file = tmp_path / "gnd.json"
    file.write_text("{}")
    with pytest.raises(UsageError, match="gallery"):
        from_landmarks(str(file))
    file.write_text('{"gallery": ["a"], "queries": [{"image": "a", "ok": ["b"]}]}')
    with pytest.raises(UsageError, match="'b' of .* is not in its gallery"):
        from_landmarks(str(file))
