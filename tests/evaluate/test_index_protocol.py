"""A protocol on an index: labels, queries, distractors, and rankings that are the index's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.evaluate.index_answers import answered_by
from cbir.evaluate.index_protocol import Choice, IndexTruth, from_index, from_index_and_manifest
from cbir.evaluate.protocol import per_query, rank, summarise
from cbir.query import Index
from cbir.query.state import load_state
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import run

TABLE = """path,label,split
a/00.png,hat,train
a/02.png,hat,train
a/04.png,hat,test
b/01.png,shoe,train
b/03.png,shoe,test
b/05.png,,train
"""


@pytest.fixture
def place(photos: Path, tmp_path: Path, grid: GridEmbedder) -> Path:
    """An index of twelve pictures, without metadata."""
    run(tmp_path / "index", photos, grid=grid)
    return tmp_path / "index"


@pytest.fixture
def labelled(photos: Path, tmp_path: Path, grid: GridEmbedder) -> Path:
    """The same with labels of five of them; seven are distractors."""
    (photos / "table.csv").write_text(TABLE)
    run(tmp_path / "index", photos, grid=grid, metadata=str(photos / "table.csv"))
    return tmp_path / "index"


def names(found: IndexTruth) -> dict[str, list[str]]:
    """Query → the relevant images, by file name."""
    truth = found.truth
    return {
        Path(truth.paths[q.image]).name: [
            Path(truth.paths[truth.gallery[p]]).name for p in q.relevant
        ]
        for q in truth.queries
    }


def test_folders_are_labels_where_no_column_is(place: Path, grid: GridEmbedder) -> None:
    with Index(str(place), grid) as index:
        found = from_index(index)
        one = from_index(index, Choice(gallery_where=["path~a/*"]))
    assert found.labels == "parent folder" and found.truth.name == "index index, leave one out"
    assert names(found)["00.png"] == ["02.png", "04.png", "06.png", "08.png", "10.png"]
    assert [q.own for q in found.truth.queries] == list(range(12))
    assert len(one.truth.gallery) == 6 and set(one.truth.labels) == {"a"}


def test_a_root_s_own_name_is_the_label_of_what_lies_in_it(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    run(tmp_path / "index", photos / "a", photos / "b", grid=grid)
    with Index(str(tmp_path / "index"), grid) as index:
        assert set(from_index(index).truth.labels) == {"a", "b"}


def test_images_without_a_label_are_distractors(labelled: Path, grid: GridEmbedder) -> None:
    with Index(str(labelled), grid) as index:
        found = from_index(index)
        split = from_index(index, Choice(None, ["split=test"], ["split=train"]))
        other = from_index(index, Choice("split"))
        unlabelled = Choice(query_where=["path~b/05.png"])
        with pytest.raises(UsageError, match="none has one .labels: column label"):
            from_index(index, unlabelled)
        with pytest.raises(UsageError, match="label, split.*received 'colour'"):
            from_index(index, Choice("colour"))
        with pytest.raises(UsageError, match="no image of the index fits split=none"):
            from_index(index, Choice(gallery_where=["split=none"]))
        with pytest.raises(UsageError, match="received 'colour'"):
            from_index(index, Choice(query_where=["colour=red"]))
        answers = answered_by(index, found)
    assert found.labels == "column label" and len(found.truth.gallery) == 12
    assert names(found) == {
        "00.png": ["02.png", "04.png"], "02.png": ["00.png", "04.png"],
        "04.png": ["00.png", "02.png"], "01.png": ["03.png"], "03.png": ["01.png"],
    }  # fmt: skip
    assert names(split) == {"04.png": ["00.png", "02.png"], "03.png": ["01.png"]}
    assert len(split.truth.gallery) == 4 and all(q.own is None for q in split.truth.queries)
    assert names(other)["05.png"] == ["00.png", "02.png", "01.png"]
    assert all(len(a.hits) == 11 for a in answers.answers)
    assert sum(answers.irrelevant) == 3 * 9 + 2 * 10


def test_the_rankings_are_the_index_s_own(photos: Path, tmp_path: Path, grid: GridEmbedder) -> None:
    """Copies included: equal scores come in the index's order, whatever was asked beside."""
    for i in range(5):
        shutil.copy(photos / "a" / "00.png", photos / "b" / f"copy{i}.png")
    run(tmp_path / "index", photos, grid=grid)
    with Index(str(tmp_path / "index"), grid) as index:
        whole, part = from_index(index), from_index(index, Choice(None, ["path~a/*"], ["path~b/*"]))
        hidden = np.setdiff1d(index.catalog.ids(), part.ids)
        for found, excluded in ((whole, None), (part, hidden)):
            answers = answered_by(index, found)
            ids = dict(zip(found.ids.tolist(), found.truth.gallery.tolist(), strict=True))
            for query, answer, feature in zip(
                found.truth.queries, answers.answers, found.features, strict=True
            ):
                out = [] if query.own is None else [found.ids[query.own]]
                gone = np.array(sorted({*out, *(() if excluded is None else excluded)}), np.int64)
                scores, hits = index.search(feature[None], 99, gone)
                kept = hits[0] >= 0
                assert answer.hits == [ids[i] for i in hits[0][kept]]
                assert answer.scores == np.round(scores[0][kept].astype(np.float64), 6).tolist()
                ranking = index.query(int(found.ids[query.own]), k=99).hits if out else None
                if ranking is not None:
                    assert answer.hits == [ids[hit.id] for hit in ranking]


def test_answers_agree_with_plain_ranking(labelled: Path, grid: GridEmbedder) -> None:
    with Index(str(labelled), grid) as index:
        found = from_index(index)
        answers = answered_by(index, found)
        state = load_state(index.catalog)
        assert state is not None
        gallery = state.projection.apply(index.stored_features(found.ids.tolist()))
        plain = rank(found.truth, state.projection.apply(found.features), gallery, "x")
    assert [a.ranks for a in answers.answers] == [a.ranks for a in plain.answers]
    assert [a.hits for a in answers.answers] == [a.hits for a in plain.answers]
    assert per_query(answers) == per_query(plain)
    assert answers.irrelevant == plain.irrelevant and answers.system == "test-grid, raw"
    assert answers.about["labels"] == "column label" and answers.about["dims"] == 48


def test_a_manifest_asks_an_index(
    labelled: Path, photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    """New pictures, a copy elsewhere, an image of the index itself, a broken file, no label."""
    picture(0).save(tmp_path / "new.png")
    picture(77).save(tmp_path / "other.png")
    shutil.copy(photos / "b" / "01.png", tmp_path / "copy.png")
    (tmp_path / "bad.png").write_bytes(b"<html>")
    os.symlink(photos, tmp_path / "link")
    (tmp_path / "q.csv").write_text(
        "path,label,use\nnew.png,hat,y\nother.png,hat,n\ncopy.png,shoe,y\nlink/a/00.png,hat,y\n"
        "bad.png,hat,y\ngone.png,hat,y\nnew2.png,,y\n"
    )
    before = grid.seen
    with Index(str(labelled), grid) as index:
        asked = Choice(query_where=["use=y"])
        found = from_index_and_manifest(index, str(tmp_path / "q.csv"), asked)
        answers = answered_by(index, found)
        few = from_index_and_manifest(
            index, str(tmp_path / "q.csv"), Choice(None, ["use=y"], ["split=train"])
        )
    assert [Path(f.path).name for f in found.failures] == ["bad.png", "gone.png"]
    # new.png is the very picture 0, saved alike: its content is stored, so it is not embedded.
    assert names(found) == {
        "new.png": ["00.png", "02.png", "04.png"], "copy.png": ["01.png", "03.png"],
        "00.png": ["02.png", "04.png"],
    }  # fmt: skip
    assert grid.seen == before and found.embedded == 0
    new, copy, own = answers.answers
    assert new.ranks[0] == 1 and new.scores[0] == pytest.approx(1) and len(new.hits) == 12
    assert copy.ranks[0] == 1 and len(copy.hits) == 12
    assert len(own.hits) == 11 and found.truth.queries[2].own not in own.hits
    assert summarise(answers).queries == 3 and answers.about["failures"] == 2
    assert found.truth.name == "q.csv use=y in index index"
    assert len(few.truth.gallery) == 4 and few.truth.name.endswith("in index index split=train")


def test_a_manifest_s_new_pictures_are_embedded_once(
    labelled: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    from cbir.catalog import FeatureCache

    picture(77).save(tmp_path / "other.png")
    (tmp_path / "q.csv").write_text("path,label\nother.png,hat\n")
    before = grid.seen
    with (
        Index(str(labelled), grid) as index,
        FeatureCache(str(tmp_path / "cache.sqlite")) as cache,
    ):
        counts = [
            from_index_and_manifest(index, str(tmp_path / "q.csv"), None, cache).embedded
            for _ in range(2)
        ]
    assert counts == [1, 0] and grid.seen == before + 1


def test_labels_that_have_nothing_in_common_are_a_mistake(
    place: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    picture(77).save(tmp_path / "other.png")
    (tmp_path / "q.csv").write_text("path,label\nother.png,hat\n")
    (tmp_path / "none.csv").write_text("path,label\nother.png,\n")
    with Index(str(place), grid) as index:
        with pytest.raises(UsageError, match=r"no label .*hat.* \(parent folder: a, b"):
            from_index_and_manifest(index, str(tmp_path / "q.csv"))
        with pytest.raises(UsageError, match="none has one"):
            from_index_and_manifest(index, str(tmp_path / "none.csv"))


def test_an_index_of_few_images(tmp_path: Path, draw: object, grid: GridEmbedder) -> None:
    folder = tmp_path / "photos" / "a"
    folder.mkdir(parents=True)
    for n in (1, 2):
        picture(n).save(folder / f"{n}.png")
        run(tmp_path / "index", tmp_path / "photos", grid=grid)
        with Index(str(tmp_path / "index"), grid) as index:
            answers = answered_by(index, from_index(index))
        assert summarise(answers).queries == (0, 2)[n - 1] and answers.gallery == n
    shutil.rmtree(folder)
    run(tmp_path / "index", tmp_path / "photos", grid=grid, prune=True)
    with (
        Index(str(tmp_path / "index"), grid) as index,
        pytest.raises(UsageError, match="no images"),
    ):
        from_index(index)
