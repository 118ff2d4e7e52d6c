"""Probing end to end with the tiny embedder: parts, draws, counts, intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.catalog import FeatureCache
from cbir.errors import UsageError
from cbir.evaluate import (
    ALL,
    Cell,
    ColourHistogram,
    Parts,
    Probe,
    ProbeSpec,
    difference,
    from_folders,
    from_labels,
    matches,
    parts_of,
    probe,
    probe_steps,
)
from cbir.evaluate.heads import Trained
from cbir.evaluate.probe import interval
from cbir.evaluate.probe_parts import prepare
from cbir.images import edits
from cbir.types import Ids, Vectors
from tests.conftest import GridEmbedder, picture


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes of six, five and four pictures: one picture in several lights."""
    folder = tmp_path / "classes"
    for i, n in enumerate((6, 5, 4)):
        (folder / str(i)).mkdir(parents=True)
        for j in range(n):
            pixels = edits.brightness(np.asarray(picture(i)), 1 - 0.07 * j)
            Image.fromarray(pixels).save(folder / str(i) / f"{j}.png")
    return folder


def test_end_to_end(classes: Path, grid: GridEmbedder, tmp_path: Path) -> None:
    parts = parts_of(from_folders(str(classes)))
    spec = ProbeSpec((1, 2, 3, ALL), draws=3)
    seen: list[int] = []
    embedders = {"grid": grid, "colour": ColourHistogram()}
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        found = probe(parts, embedders, spec, cache=cache, advance=seen.append)
        assert probe(parts, {"grid": grid}, spec, cache=cache).cells[0].accuracy == (
            found.cells[0].accuracy
        )
    assert grid.seen == 15 and sum(seen) == probe_steps(parts, 2, spec)
    assert (found.train, found.test, found.classes) == (8, 7, 3)
    assert found.name == "classes, half of each class"
    assert len(found.cells) == 2 * 2 * 4 and found.short == {3: 1}
    assert found.dims == {"grid": 48, "colour": 512}
    for head in ("svm", "knn"):
        cell = found.cell("grid", head, 2)
        assert cell.accuracy == cell.by_class == 1 and cell.images == 6
        assert cell.right.shape == (3, 7) and cell.spread == 0 and len(cell.chosen) == 3
        assert found.cell("grid", head, ALL).right.shape == (1, 7)
    with pytest.raises(KeyError):
        found.cell("grid", "svm", 4)


def test_a_new_head_needs_no_change(classes: Path, grid: GridEmbedder) -> None:
    asked: list[tuple[int, int]] = []

    def first(rows: Vectors, labels: Ids, seed: int) -> Trained:
        asked.append((len(rows), seed))
        return Trained(lambda x: np.full(len(x), labels[0], np.int64), "none")

    parts = parts_of(from_folders(str(classes)))
    spec = ProbeSpec((2, ALL), draws=2, seed=5)
    found = probe(parts, {"grid": grid}, spec, heads={"first": first})
    assert asked == [(6, 5), (6, 6), (8, 5)]
    cell = found.cell("grid", "first", ALL)
    # Three of seven test images are of class 0; of its class all are right, of the others none.
    assert cell.accuracy == pytest.approx(3 / 7) and cell.by_class == pytest.approx(1 / 3)


def test_halves_are_stratified_and_hang_on_the_seed(classes: Path) -> None:
    truth = from_folders(str(classes))
    parts = parts_of(truth, seed=1)
    labels = np.array(parts.labels)
    assert sorted([*parts.train, *parts.test]) == list(range(15))
    assert [int((labels[parts.train] == c).sum()) for c in "012"] == [3, 3, 2]
    assert np.array_equal(parts.train, parts_of(truth, seed=1).train)
    assert not np.array_equal(parts.train, parts_of(truth, seed=2).train)


def test_parts_that_do_not_fit() -> None:
    def truth(labels: str, queries: list[int], gallery: list[int]) -> Parts:
        return parts_of(from_labels("t", list(labels), list(labels), (queries, gallery)))

    assert truth("aabb", [0, 2], [1, 3]).name == "t"
    with pytest.raises(UsageError, match="1 are in both"):
        truth("aabb", [0, 1, 2], [2, 3])
    with pytest.raises(UsageError, match="2 are in both"):
        truth("aabb", [0, 1], [0, 1, 2, 3])
    with pytest.raises(UsageError, match="needs two images"):
        truth("abcd", [0, 1, 2, 3], [0, 1, 2, 3])
    with pytest.raises(UsageError, match="label"):
        parts_of(from_labels("t", ["x", "y"], ["a", ""], ([0], [1])))


def parts(labels: str, train: list[int], test: list[int]) -> Parts:
    paths = tuple(f"{i}.png" for i in range(len(labels)))
    return Parts("t", paths, tuple(labels), np.array(train), np.array(test))


def test_draws_are_nested_balanced_and_of_the_training_part() -> None:
    given = parts("aaaaabbbbbccXXXX", list(range(12)), [12, 13])
    with pytest.raises(UsageError, match="none is"):
        prepare(given, ProbeSpec())
    given = parts("aaaaabbbbbccXaba", list(range(12)), [12, 13, 14, 15])
    task, short = prepare(given, ProbeSpec((1, 2, 4, ALL), draws=3))
    assert short == {4: 1} and task.test.tolist() == [13, 14, 15]
    assert [len(task.draws[size]) for size in (1, 2, 4, ALL)] == [3, 3, 3, 1]
    assert task.draws[ALL][0].tolist() == list(range(12))
    for one, two, four in zip(task.draws[1], task.draws[2], task.draws[4], strict=True):
        assert set(one) < set(two) < set(four) < set(range(12))
        for drawn, counts in ((one, [1, 1, 1]), (two, [2, 2, 2]), (four, [4, 4, 2])):
            found = np.array(list(given.labels))[drawn]
            assert [int((found == c).sum()) for c in "abc"] == counts
    assert len({tuple(drawn) for drawn in task.draws[2]}) > 1


def test_what_is_left_out_is_counted(
    classes: Path, grid: GridEmbedder, draw: Callable[..., Path]
) -> None:
    files = sorted(str(f) for f in classes.rglob("*.png"))
    labels = [Path(f).parent.name for f in files]
    copy = classes / "copy.png"
    copy.write_bytes(Path(files[0]).read_bytes())
    broken = classes / "broken.png"
    broken.write_bytes(b"no picture")
    files += [str(copy), str(broken), str(draw("new.png", 9))]
    labels += ["0", "1", "other"]
    train = [i for i in range(15) if i % 2 == 0]
    test = [i for i in range(18) if i not in train]
    found = probe(
        Parts("t", tuple(files), tuple(labels), np.array(train), np.array(test)),
        {"grid": grid}, ProbeSpec((1,), draws=2),
    )  # fmt: skip
    assert found.untrained == 1 and found.shared == 1 and found.test == len(test) - 2
    assert [Path(f.path).name for f in found.failures] == ["broken.png"]


def test_settings() -> None:
    for bad in ({"per_class": ()}, {"per_class": (-1,)}, {"draws": 0}, {"seed": -1}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            ProbeSpec(**bad)  # type: ignore[arg-type]
    assert ProbeSpec.from_dict(ProbeSpec((1, ALL)).to_dict()) == ProbeSpec((1, ALL))


def cell(embedder: str, per_class: int, right: np.ndarray, head: str = "svm") -> Cell:
    return Cell(embedder, head, per_class, 10, float(right.mean()), 0.0, (0.0, 1.0), 0.0, (), right)


def hits(share: float, draws: int = 3, tests: int = 400) -> np.ndarray:
    return np.random.default_rng(0).random((draws, tests)) < share


def test_the_interval_has_both_sources_of_chance() -> None:
    low, high = interval(hits(0.5, 1, 400))
    assert low < 0.5 < high and 0.07 < high - low < 0.13  # 2 * 1.96 * sqrt(.25 / 400) = .098
    uneven = np.zeros((4, 400), bool)
    uneven[:2] = True  # test images are alike, draws are not
    low, high = interval(uneven)
    assert high - low > 0.7
    assert interval(np.ones((2, 9), bool)) == (1, 1)
    assert interval(hits(0.5)) == interval(hits(0.5))


def test_a_paired_difference_is_narrower() -> None:
    """Right on the same images but for a few: what is common does not widen the interval."""
    second = hits(0.5, 1)
    first = second.copy()
    first[0, np.flatnonzero(~second[0])[:20]] = True
    by, low, high = difference(cell("a", 5, first), cell("b", ALL, second))
    assert by == pytest.approx(0.05) and 0.02 < low < by < high < 0.08


def test_how_few_match_all() -> None:
    cells = [
        cell("cnn", 1, hits(0.3)), cell("cnn", 5, hits(0.6)), cell("cnn", ALL, hits(0.9, 1)),
        cell("old", 1, hits(0.1)), cell("old", 5, hits(0.2)), cell("old", ALL, hits(0.5, 1)),
        cell("old", ALL, hits(0.1, 1), "knn"), cell("near", 1, hits(0.1)),
        cell("near", 5, hits(0.3)), cell("near", ALL, hits(0.89, 1)),
    ]  # fmt: skip
    spec = ProbeSpec((1, 5, ALL))
    whole = Probe("t", spec, 9, 9, 3, tuple(cells), {}, 0, 0, (), {})
    found = {match.weaker: match for match in matches(whole)}
    assert set(found) == {"old", "near"} and found["old"].stronger == "cnn"
    assert found["old"].few is cells[1] and found["old"].all is cells[5]
    assert found["old"].least is cells[0] and found["old"].needs is cells[5]
    assert found["near"].few is cells[2] and found["near"].needs is cells[8]
    for sizes in ((1, 5), (ALL,)):
        spec = ProbeSpec(sizes)
        assert matches(Probe("t", spec, 9, 9, 3, tuple(cells), {}, 0, 0, (), {})) == ()
