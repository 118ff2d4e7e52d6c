"""`Index`: every kind of query image, self-matches, copies, filters, what a writer changes."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.config import QuerySpec
from cbir.errors import ImageError, UsageError
from cbir.images import prepare
from cbir.query import Index
from cbir.types import Failure, Ranking
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import ids, run

Draw = Callable[..., Path]


@pytest.fixture
def index(tmp_path: Path, photos: Path, grid: GridEmbedder) -> Path:
    shutil.copy(photos / "a" / "00.png", photos / "copy.png")
    (photos / "meta.csv").write_text("path,label\na/00.png,x\na/02.png,x\nb/01.png,y\n")
    run(tmp_path / "index", photos, grid=grid, metadata=str(photos / "meta.csv"))
    return tmp_path / "index"


@pytest.fixture
def opened(index: Path, grid: GridEmbedder) -> Iterator[Index]:
    with Index(str(index), grid) as made:
        yield made


def names(ranking: object) -> list[str]:
    return [Path(hit.path).name for hit in ranking.hits]  # type: ignore[attr-defined]


def test_every_kind_of_picture_gives_the_same(opened: Index, photos: Path, draw: Draw) -> None:
    file = draw("outside.png", 2, "elsewhere")
    pixels = np.asarray(picture(2))
    forms = [
        str(file), file, file.read_bytes(), Image.open(io.BytesIO(file.read_bytes())), pixels,
    ]  # fmt: skip
    rankings = [opened.query(form, k=4) for form in forms]
    assert {tuple(h.id for h in r.hits) for r in rankings} == {
        tuple(h.id for h in rankings[0].hits)
    }
    assert names(rankings[0])[0] == "02.png"
    assert [r.hits[0].identical for r in rankings] == [True, True, True, False, False]
    assert rankings[0].hits[0].score > 0.9999
    assert [h.rank for h in rankings[0].hits] == [1, 2, 3, 4]


def test_scores_are_cosines(opened: Index, photos: Path, grid: GridEmbedder) -> None:
    """Against plain features of the same files, exactly."""
    query = photos / "a" / "04.png"
    ranking = opened.query(str(query), k=20)
    features = {}
    for file in photos.rglob("*.png"):
        loaded = prepare(str(file), grid.spec)
        assert loaded.pixels is not None
        features[str(file)] = grid.features(loaded.pixels[None])[0].astype(np.float64)
    own = features[str(query)]
    for hit in ranking.hits:
        other = features[hit.path]
        cosine = float(own @ other / np.linalg.norm(own) / np.linalg.norm(other))
        assert hit.score == pytest.approx(cosine, abs=2e-3)  # stored as float16
    scores = [hit.score for hit in ranking.hits]
    assert scores == sorted(scores, reverse=True) and len(scores) == 12


def test_a_self_match_goes_by_path_or_id_and_copies_stay(
    opened: Index, index: Path, photos: Path
) -> None:
    query = photos / "a" / "00.png"
    for image in (str(query), ids(index)["a/00.png"], os.path.relpath(query)):
        ranking = opened.query(image)
        assert str(query) not in [h.path for h in ranking.hits]
        assert names(ranking)[0] == "copy.png" and ranking.hits[0].identical
        assert not any(h.identical for h in ranking.hits[1:])
    kept = opened.query(str(query), spec=QuerySpec(keep_self=True))
    assert {Path(h.path).name for h in kept.hits[:2]} == {"00.png", "copy.png"}
    assert all(h.identical for h in kept.hits[:2])


def test_a_link_to_an_indexed_file_is_that_file(
    opened: Index, photos: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.png"
    os.symlink(photos / "a" / "02.png", link)
    assert "02.png" not in names(opened.query(str(link), k=20))


def test_an_indexed_picture_is_not_embedded_again(
    opened: Index, photos: Path, grid: GridEmbedder
) -> None:
    before = grid.seen
    opened.query(str(photos / "a" / "02.png"))
    opened.query(3)
    assert grid.seen == before
    opened.query(str(photos / "a" / "02.png"), crop="0,0,20,20")
    assert grid.seen == before + 1


def test_files_behind_a_linked_folder_are_known_by_the_link(
    tmp_path: Path, draw: Draw, grid: GridEmbedder
) -> None:
    draw("1.png", 1, "root")
    behind = draw("2.png", 2, "elsewhere")
    os.symlink(behind.parent, tmp_path / "root" / "link")
    run(tmp_path / "linked", tmp_path / "root", grid=grid)
    with Index(str(tmp_path / "linked"), grid) as opened:
        for spelling in (tmp_path / "root" / "link" / "2.png", tmp_path / "root" / "." / "link" /
                         "2.png"):  # fmt: skip
            assert names(opened.query(str(spelling))) == ["1.png"]
        assert names(opened.query(str(behind)))[0] == "2.png"  # reached another way: a copy


def test_threads_may_share_an_index(opened: Index, photos: Path) -> None:
    wanted = [h.id for h in opened.query(str(photos / "a" / "02.png")).hits]
    found: list[list[int]] = []

    def ask() -> None:
        for _ in range(20):
            found.append([h.id for h in opened.query(str(photos / "a" / "02.png")).hits])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and all(ids == wanted for ids in found)


def test_odd_ids_and_weights(opened: Index, photos: Path) -> None:
    for image in (0, -1, 10**30):
        with pytest.raises(UsageError, match="No image has the id"):
            opened.query(image)
    files = [str(photos / "a" / "02.png"), str(photos / "b" / "03.png")]
    huge = opened.query_combined(files, weights=[1e308, 1e308]).hits
    assert [h.id for h in huge] == [h.id for h in opened.query_combined(files).hits]
    assert huge[0].score > 0
    with pytest.raises(UsageError, match="weight: expected"):
        opened.query_combined(files[:1], weights=[float("nan")])


def test_a_crop_is_another_picture(opened: Index, photos: Path, index: Path) -> None:
    whole = opened.query(str(photos / "a" / "02.png"))
    part = opened.query(str(photos / "a" / "02.png"), crop="0.0,0.0,0.5,0.5")
    by_id = opened.query(ids(index)["a/02.png"], crop="0.0,0.0,0.5,0.5")
    assert [h.score for h in part.hits] != [h.score for h in whole.hits]
    assert [h.score for h in part.hits] == pytest.approx([h.score for h in by_id.hits])
    assert not any(h.identical for h in part.hits)
    with pytest.raises(UsageError, match="40 x 30 pixels"):
        opened.query(str(photos / "a" / "02.png"), crop="30,0,20,20")


def test_filters_give_k_results_where_k_exist(opened: Index, photos: Path) -> None:
    spec = QuerySpec(k=6, where=("path~b/*",))
    assert len(opened.query(str(photos / "a" / "02.png"), spec=spec).hits) == 6
    spec = QuerySpec(k=6, where=("label=x",))
    ranking = opened.query(str(photos / "a" / "02.png"), spec=spec)
    assert names(ranking) == ["00.png"] and ranking.hits[0].metadata == {"label": "x"}
    extra = {3: {"shop": "here"}}
    found = opened.query_many([1], QuerySpec(where=("shop=here",)), extra=extra)[0]
    assert [h.id for h in found.hits] == [3] and found.hits[0].metadata["shop"] == "here"


def test_min_score(opened: Index, photos: Path) -> None:
    all_hits = opened.query(str(photos / "a" / "02.png"), k=20).hits
    bound = all_hits[4].score
    kept = opened.query(str(photos / "a" / "02.png"), spec=QuerySpec(k=20, min_score=bound)).hits
    assert kept == all_hits[:5]


def test_many_queries_and_one_of_several(opened: Index, photos: Path) -> None:
    files = [str(photos / "a" / "02.png"), str(photos / "b" / "03.png")]
    one, other = opened.query_many(files, QuerySpec(k=5))
    assert one.hits == opened.query(files[0], k=5).hits
    assert other.hits == opened.query(files[1], k=5).hits
    joined = opened.query_combined(files, QuerySpec(k=20))
    assert joined.query == " + ".join(files) and len(joined.files) == 2
    assert not {"02.png", "03.png"} & set(names(joined))
    alone = opened.query_combined(files, QuerySpec(k=3), weights=[1.0, 1e-9])
    assert [h.id for h in alone.hits][:2] == [
        h.id for h in opened.query(files[0], k=20).hits if "03.png" not in h.path
    ][:2]


@pytest.mark.parametrize(
    "spec",
    [QuerySpec(k=3), QuerySpec(k=50), QuerySpec(k=3, keep_self=True),
     QuerySpec(k=2, where=("path~*/a/*",)), QuerySpec(k=4, min_score=0.5)],
)  # fmt: skip
def test_any_number_of_queries_are_answered_as_one_by_one(
    opened: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: QuerySpec
) -> None:
    """Indexed ones, new ones, ids, and what cannot be read, in their order, block by block."""
    monkeypatch.setattr("cbir.query.searcher.TOGETHER", 3)
    bad, new = tmp_path / "bad.jpg", tmp_path / "new.png"
    bad.write_bytes(b"no picture")
    picture(70).save(new)
    known = sorted(str(path) for path in photos.rglob("*.png"))[:3]
    images = [known[0], str(bad), str(new), 2, known[1], known[2], new.read_bytes(), str(tmp_path)]
    found = list(opened.query_each(iter(images), spec))
    assert len(found) == len(images)
    for image, one in zip(images, found, strict=True):
        if image in (str(bad), str(tmp_path)):
            assert isinstance(one, Failure) and one.path == image and one.reason
            continue
        alone = opened.query(image, spec=spec)
        assert isinstance(one, Ranking) and one.query == alone.query and one.files == alone.files
        assert [hit.id for hit in one.hits] == [hit.id for hit in alone.hits]
        scores = [(hit.score, hit.identical, hit.metadata) for hit in one.hits]
        expected = [(hit.score, hit.identical, hit.metadata) for hit in alone.hits]
        for (score, *rest), (wanted, *same) in zip(scores, expected, strict=True):
            assert score == pytest.approx(wanted, abs=1e-6) and rest == same


def test_what_cannot_be_asked_is_said(opened: Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No image has the id 4711"):
        opened.query(4711)
    with pytest.raises(ImageError, match="cannot be read"):
        opened.query(str(tmp_path / "none.png"))
    (tmp_path / "bad.jpg").write_text("text")
    with pytest.raises(ImageError, match="not an image"):
        opened.query(str(tmp_path / "bad.jpg"))
    with pytest.raises(UsageError, match="uint8"):
        opened.query(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


def test_an_open_index_sees_what_a_writer_commits(
    opened: Index, index: Path, photos: Path, grid: GridEmbedder, draw: Draw
) -> None:
    query = draw("query.png", 60, "elsewhere")
    assert "new.png" not in names(opened.query(str(query), k=20))
    draw("new.png", 60)
    run(index, grid=grid)
    ranking = opened.query(str(query), k=20)
    assert names(ranking)[0] == "new.png" and ranking.hits[0].identical
    os.remove(photos / "new.png")
    run(index, grid=grid)
    assert "new.png" not in names(opened.query(str(query), k=20))
    os.rename(photos / "a" / "02.png", photos / "moved.png")
    run(index, grid=grid)
    assert "moved.png" in names(opened.query(str(query), k=20))
    run(index, grid=grid, refit=True)
    assert len(opened.query(str(query), k=20).hits) == 13


def test_weights_that_differ_are_noticed(index: Path, photos: Path, tmp_path: Path) -> None:
    """The index's embedder is no stock one, and is not saved: a new picture cannot be asked."""
    picture(70).save(tmp_path / "new.png")
    with Index(str(index)) as opened:
        assert opened.query(str(photos / "a" / "02.png")).hits  # stored features need none
        with pytest.raises(UsageError, match="test-grid"):
            opened.query(str(tmp_path / "new.png"))
