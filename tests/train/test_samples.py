"""Labelled pictures from folders, manifests, pairs and triplets."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbir.errors import UsageError
from cbir.train.samples import from_folders, from_manifest, from_pairs


def written(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_folders_are_classes(photos: Path) -> None:
    found = from_folders(str(photos))
    assert len(found) == 12 and found.classes() == ("a", "b")
    assert found.numbers().tolist() == [0] * 6 + [1] * 6
    part = found.take([7, 0])
    assert part.labels == ("b", "a") and part.paths == (found.paths[7], found.paths[0])


def test_pictures_in_no_class_s_folder_have_no_class(photos: Path) -> None:
    (photos / "a" / "00.png").rename(photos / "00.png")
    found = from_folders(str(photos))
    assert found.labels.count("") == 1 and found.classes() == ("a", "b")
    assert Path(found.paths[found.labels.index("")]).parent == photos


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder of images for each class"):
        from_folders(str(tmp_path))


def test_a_manifest_with_rows_kept_for_validation(tmp_path: Path) -> None:
    file = written(tmp_path, "m.csv", "path,label,split\na,x,t\nb,y,t\nc,,t\nd,x,v\ne,y,o\n")
    found = from_manifest(file, ["split=t"], ["split=v"])
    assert [Path(p).name for p in found.paths] == ["a", "b", "c", "d"]
    assert found.held == (3,)
    assert found.numbers().tolist() == [0, 1, -1, 0]
    assert found.take([3, 1]).held == (0,)
    plain = from_manifest(file, label=None)
    assert plain.labels == ("",) * 5 and plain.classes() == ()
    both = from_manifest(file, ["split=t,v"], ["split=v"])
    assert both.paths == found.paths and both.held == (3,)


def test_pairs_become_classes_through_others(tmp_path: Path) -> None:
    text = "path,other,same\na,b,1\nc,d,yes\nb,e,true\nf,a,0\nc,a,no\n"
    found = from_pairs(written(tmp_path, "p.csv", text))
    by_name = dict(zip((Path(p).name for p in found.paths), found.labels, strict=True))
    assert by_name["a"] == by_name["b"] == by_name["e"]
    assert by_name["c"] == by_name["d"] != by_name["a"]
    assert len(found.classes()) == 3
    assert set(found.apart) == {
        tuple(sorted((by_name["a"], by_name["f"]))),
        tuple(sorted((by_name["a"], by_name["c"]))),
    }


def test_triplets_give_a_positive_and_a_negative_link(tmp_path: Path) -> None:
    text = "path,positive,negative\na,b,c\nc,d,\ne,,a\n"
    found = from_pairs(written(tmp_path, "t.csv", text))
    by_name = dict(zip((Path(p).name for p in found.paths), found.labels, strict=True))
    assert by_name["a"] == by_name["b"] and by_name["c"] == by_name["d"]
    assert len(found.classes()) == 3 and len(found.apart) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,other\na,b\n", "path,other,same or path,positive,negative"),
        ("path,other,same\n", "no rows"),
        ("path,other,same\na,b,maybe\n", "expected 1 or 0 in the column same"),
        ("path,other,same\na,b,1\nb,c,1\na,c,0\n", "different, and also"),
    ],
)
def test_pairs_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_pairs(written(tmp_path, "p.csv", text))
