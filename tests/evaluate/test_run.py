"""A protocol from end to end with the tiny embedder: cache, failures, crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.catalog import FeatureCache
from cbir.config import IndexSpec
from cbir.embed import fit_gallery
from cbir.evaluate import (
    ColourHistogram,
    answered,
    embed_files,
    from_folders,
    measure,
    summarise,
    truth_features,
)
from cbir.evaluate.ground_truth import Query, Truth
from cbir.evaluate.run import without
from cbir.images import edits, prepare
from tests.conftest import GridEmbedder, picture


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Four pictures, each with three light versions in a folder of its own."""
    folder = tmp_path / "classes"
    for i in range(4):
        (folder / str(i)).mkdir(parents=True)
        for j, factor in enumerate((1.0, 0.9, 0.8)):
            pixels = edits.brightness(np.asarray(picture(i)), factor)
            Image.fromarray(pixels).save(folder / str(i) / f"{j}.png")
    return folder


def test_features_come_from_the_cache_the_second_time(
    classes: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    files = sorted(str(f) for f in classes.rglob("*.png"))
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        first = embed_files(files, grid, cache)
        again = embed_files(files[::-1], grid, cache)
    assert (first.embedded, again.embedded, grid.seen) == (12, 0, 12)
    assert np.allclose(first.features, again.features[::-1], rtol=1e-3)
    assert first.contents == again.contents[::-1]
    loaded = prepare(files[3], grid.spec)
    assert loaded.pixels is not None
    assert np.allclose(first.features[3], grid.features(loaded.pixels[None])[0], rtol=1e-3)


def test_a_protocol_end_to_end(classes: Path, grid: GridEmbedder) -> None:
    seen: list[int] = []
    done = measure(from_folders(str(classes)), grid, IndexSpec(), advance=seen.append)
    found = summarise(done.answers)
    assert found.queries == 12 and found.gallery == 12 and sum(seen) == 12
    assert found.metrics["recall@1"] == 1 and found.metrics["mAP"] > 0.95
    assert done.answers.system == "test-grid, raw" and done.answers.about["dims"] == 48
    floor = measure(from_folders(str(classes)), ColourHistogram(), IndexSpec(projection="none"))
    assert floor.answers.system == "classical/colour, raw"


def test_features_are_made_once_for_all_projections(
    classes: Path, tmp_path: Path, grid: GridEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbir.embed.projection.FIT_AT", 5)
    truth = from_folders(str(classes))
    specs = [IndexSpec(dims=d) for d in (5, 2, 48)] + [IndexSpec(projection="none")]
    found = truth_features(truth, grid)
    assert grid.seen == 12
    for spec, made in zip(specs, found.projections(specs), strict=True):
        alone = measure(truth, grid, spec).answers
        for one, other in zip(answered(found, spec, made).answers, alone.answers, strict=True):
            assert one.hits == other.hits and one.ranks == other.ranks
            assert np.allclose(one.scores, other.scores, atol=1e-5)  # sums in another order
    fitted = fit_gallery(found.contents, found.gallery, 2)
    cut = found.projections(specs)[1]
    assert fitted.components is not None and cut.components is not None
    assert np.array_equal(fitted.components, cut.components)
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        fresh, kept = truth_features(truth, grid, cache), truth_features(truth, grid, cache)
    assert (fresh.embedded, kept.embedded) == (12, 0)
    assert np.array_equal(fresh.gallery, kept.gallery)  # not nearly: the same
    assert np.array_equal(fresh.queries, kept.queries)


def test_pictures_that_cannot_be_used_are_left_out(classes: Path, grid: GridEmbedder) -> None:
    (classes / "0" / "1.png").write_bytes(b"")
    done = measure(from_folders(str(classes)), grid, IndexSpec())
    assert [Path(f.path).name for f in done.failures] == ["1.png"]
    found = summarise(done.answers)
    assert found.queries == 11 and found.gallery == 11 and found.metrics["recall@1"] == 1
    assert done.answers.answers[0].total == 1


def test_without_moves_every_position() -> None:
    def at(*places: int) -> np.ndarray:
        return np.array(places, np.int64)

    queries = (
        Query(1, at(0, 1, 3), at(2)),
        Query(2, at(0), at(), 1),
        Query(4, at(1), at(), 3),
    )
    truth = Truth("t", ("a", "b", "c", "d", "e"), ("",) * 5, at(0, 2, 3, 4), queries)
    left = without(truth, [2])
    assert left.gallery.tolist() == [0, 3, 4]
    first, second = left.queries
    assert first.relevant.tolist() == [0, 2] and first.junk.tolist() == [1]
    assert second.image == 4 and second.own == 2 and second.relevant.tolist() == []
    assert without(truth, []) is truth


def test_a_crop_is_asked_alone(classes: Path, grid: GridEmbedder) -> None:
    files = tuple(sorted(str(f) for f in classes.rglob("*.png")))
    places = np.arange(len(files), dtype=np.int64)
    answers = []
    for crop in (None, "0,0,10,10"):
        query = Query(0, places[1:3], places[:0], 0, crop)
        truth = Truth("t", files, ("",) * len(files), places, (query,))
        answers.append(measure(truth, grid, IndexSpec()).answers.answers[0])
    assert answers[0].scores != answers[1].scores
    loaded = prepare(files[0], grid.spec, "0,0,10,10")
    assert loaded.pixels is not None
    part = grid.features(loaded.pixels[None])[0]
    other = embed_files([files[answers[1].hits[0]]], grid).features[0]
    cosine = part @ other / np.linalg.norm(part) / np.linalg.norm(other)
    assert answers[1].scores[0] == pytest.approx(float(cosine), abs=1e-3)  # rounded as the cache


def test_a_file_that_is_asked_for_twice_has_its_feature_twice(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    good, bad = str(photos / "a" / "00.png"), str(tmp_path / "bad.png")
    (tmp_path / "bad.png").write_bytes(b"<html>")
    steps: list[int] = []
    found = embed_files([good, bad, good, bad], grid, None, steps.append)
    assert np.array_equal(found.features[0], found.features[2]) and found.features[0].any()
    assert [i for i, _ in found.failed] == [1, 3] and found.embedded == 1 and sum(steps) == 4


def test_fresh_features_are_those_that_the_cache_gives(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    files = sorted(str(p) for p in photos.rglob("*.png"))
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        fresh, kept = embed_files(files, grid, cache), embed_files(files, grid, cache)
    assert np.array_equal(fresh.features, kept.features) and (fresh.embedded, kept.embedded) == (
        12,
        0,
    )
