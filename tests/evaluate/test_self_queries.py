"""Self-made queries: an exact copy always finds its source; a destroyed picture does not."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from cbir.config import IndexSpec
from cbir.errors import UsageError
from cbir.evaluate.gallery import Gallery, of_files, of_index
from cbir.evaluate.self_answers import Attempt, SelfAnswers, failed_examples, kind_of, profile
from cbir.evaluate.self_queries import SelfOptions, self_queries
from cbir.images.edits import EDITS
from cbir.query import Index
from tests.conftest import GridEmbedder
from tests.lifecycle.helpers import run

SAME = {"same": lambda pixels: pixels}
EDITED = {
    "gone": lambda pixels: np.zeros_like(pixels),
    "same": lambda pixels: pixels,
    "flip": EDITS["flip"],
    "turn-180": EDITS["turn-180"],
}


def files(photos: Path, grid: GridEmbedder) -> Gallery:
    paths = sorted(str(p) for p in photos.rglob("*.png"))
    return of_files("photos", paths, grid, IndexSpec())


@pytest.mark.parametrize("from_files", [True, False])
def test_a_profile_from_harmless_to_harmful(
    photos: Path, tmp_path: Path, grid: GridEmbedder, from_files: bool
) -> None:
    run(tmp_path / "index", photos, grid=grid)
    steps: list[int] = []
    with Index(str(tmp_path / "index"), grid) as index:
        gallery = files(photos, grid) if from_files else of_index(index)
        answers = self_queries(gallery, SelfOptions(edits=EDITED), None, steps.append)
        few = self_queries(gallery, SelfOptions(5, 3, EDITED))
        again = self_queries(gallery, SelfOptions(5, 3, EDITED))
        every = self_queries(gallery, SelfOptions(2))
    found = profile(answers)
    by_name = {a.name: a for a in found.attacks}
    assert found.sources == 12 and sum(steps) == 12 and not answers.failures
    assert found.attacks[0].name == "same" and found.attacks[0].recall == {1: 1, 5: 1, 10: 1}
    assert by_name["same"].source_score > 0.999 and by_name["same"].interval[1] == 1
    assert by_name["same"].interval[0] == pytest.approx(0.757, abs=0.001)  # Wilson, 12 of 12
    assert by_name["gone"].recall[1] <= 0.25
    assert found.recall_at_1 == pytest.approx(np.mean([a.recall[1] for a in found.attacks]))
    assert all(math.isnan(a.floor) for a in found.attacks)
    assert few.attempts == again.attempts and len(few.attempts) == 20
    assert {a.name for a in profile(every).attacks} == set(EDITS) == set(every.edits)


def test_the_floor_is_asked_by_the_same_pictures(photos: Path, grid: GridEmbedder) -> None:
    class Blind(GridEmbedder):
        """Sees one number of each picture: its brightness."""

        def features(self, pixels: np.ndarray) -> np.ndarray:
            found = super().features(pixels)
            found[:, 1:] = 0.5
            return found

    gallery = files(photos, grid)
    floor = of_files("floor", gallery.files[::-1], Blind(64), IndexSpec(projection="none"))
    answers = self_queries(gallery, SelfOptions(edits=EDITED), floor)
    alone = self_queries(floor, SelfOptions(edits=EDITED))
    found, below = profile(answers), {a.name: a for a in profile(alone).attacks}
    assert {a.name: a.floor for a in found.attacks} == {n: a.recall[1] for n, a in below.items()}
    assert found.every.floor < found.recall_at_1


def test_copies_are_as_right_as_the_source(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    for i in range(12):
        (photos / f"copy{i}.png").write_bytes((photos / "a" / "00.png").read_bytes())
    run(tmp_path / "index", photos, grid=grid)
    with Index(str(tmp_path / "index"), grid) as index:
        found = self_queries(of_index(index), SelfOptions(edits=SAME))
    assert found.images == 12 and profile(found).recall_at_1 == 1


def test_files_that_are_gone_or_changed_are_listed(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    run(tmp_path / "index", photos, grid=grid)
    os.remove(photos / "a" / "00.png")
    (photos / "a" / "02.png").write_bytes((photos / "b" / "01.png").read_bytes())
    with Index(str(tmp_path / "index"), grid) as index:
        found = self_queries(of_index(index), SelfOptions(edits=SAME))
        reasons = {Path(f.path).name: f.reason for f in found.failures}
        assert set(reasons) == {"00.png", "02.png"} and len(found.failures) == 2
        assert "No such file" in reasons["00.png"]
        assert reasons["02.png"] == "has changed since it was indexed"
        assert profile(found).sources == 10 and profile(found).recall_at_1 == 1
        for file in photos.rglob("*.png"):
            file.unlink()
        with pytest.raises(UsageError, match="no picture of .* can be read"):
            self_queries(of_index(index), SelfOptions(edits=SAME))
    with pytest.raises(UsageError, match="holds no images"):
        self_queries(of_files("none", [], grid, IndexSpec()))


def test_stored_answers_are_the_same_answers(photos: Path, grid: GridEmbedder) -> None:
    answers = self_queries(files(photos, grid), SelfOptions(4, 0, EDITED))
    kept = SelfAnswers.from_json(answers.to_json())
    assert kept.to_json() == answers.to_json() and profile(kept) == profile(answers)
    for text in ("{}", "[]", '{"format": 9, "kind": "self-queries"}', "nonsense"):
        with pytest.raises(UsageError, match="self-queries"):
            SelfAnswers.from_json(text)
    moved = kept.moved_to(str(photos / "a"))
    assert set(moved.pictures.names) == set(kept.pictures.names)


def by_hand() -> SelfAnswers:
    """Two sources, three edits: flip 1 and 2, turn-90 none and 7, grey 1 and 1."""
    nan = math.nan
    attempts = (
        Attempt(0, "flip", 1, 0.9, 0, 0.9, 1), Attempt(1, "flip", 2, 0.6, 5, 0.7, 0),
        Attempt(0, "turn-90", 0, nan, 4, 0.3, 2), Attempt(1, "turn-90", 7, 0.2, 6, 0.5, 1),
        Attempt(0, "grey", 1, 0.8, 0, 0.8, 9), Attempt(1, "grey", 1, 0.9, 1, 0.9, 1),
    )  # fmt: skip
    from cbir.evaluate.answers import Pictures

    pictures = Pictures("/x", {i: f"{i}.jpg" for i in range(7)}, {})
    return SelfAnswers("g", "s", 7, ("flip", "turn-90", "grey"), attempts, pictures)


def test_the_profile_by_hand() -> None:
    found = profile(by_hand())
    (colour, greys), (turn, turned) = found.kinds
    assert (colour.kind, turn.kind) == ("colour", "turn")
    assert [a.name for a in greys] == ["grey"] and [a.name for a in turned] == ["flip", "turn-90"]
    assert turned[0].recall == {1: 0.5, 5: 1, 10: 1} and turned[1].recall == {1: 0, 5: 0, 10: 0.5}
    assert turn.recall == {1: 0.25, 5: 0.5, 10: 0.75} and turn.queries == 4
    assert turned[0].source_score == pytest.approx(0.75) and turned[1].source_score == 0.2
    assert (turned[0].floor, turned[1].floor, turn.floor) == (0.5, 0.5, 0.5)
    assert found.recall_at_1 == 0.5 and found.sources == 2
    # By source .667 and .333: no bootstrap mean lies outside of them.
    assert found.every.interval == pytest.approx((1 / 3, 2 / 3))


def test_examples_are_the_surest_failures_of_many_pictures() -> None:
    shown: set[int] = set()
    first = failed_examples(by_hand(), "turn-90", 1, shown)
    assert [a.source for a in first] == [1] and shown == {1}
    assert [a.source for a in failed_examples(by_hand(), "turn-90", 2, shown)] == [0, 1]
    assert failed_examples(by_hand(), "grey", 3, set()) == []


def test_every_edit_has_a_kind() -> None:
    assert {kind_of(name) for name in EDITS} == {
        "part", "turn", "light", "colour", "quality", "addition",
    }  # fmt: skip
    assert kind_of("nonsense") == "other"
