"""Checkpoints: what is written is read; another training's is refused; a torn one is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cbir.errors import OperationFailedError, UsageError
from cbir.train.checkpoint import Checkpoint, Progress, held


def arrays(value: float) -> dict[str, list[np.ndarray]]:
    return {"learner": [np.full((2, 2), value), np.array(3)], "optimizer": [np.array([value])]}


def test_the_last_state_comes_back_and_older_ones_go(tmp_path: Path) -> None:
    point = Checkpoint(str(tmp_path / "work"), {"seed": 1, "loss_options": ("a=1",)})
    assert point.load() is None
    progress = Progress()
    for epoch, score in enumerate((0.5, 0.9, 0.7)):
        progress.history.append({"MAP@R": score})
        state = arrays(epoch)
        if score > progress.best_score:
            progress.best, progress.best_score = epoch, score
            state["best"] = [np.full(3, epoch)]
        point.save(progress, state)
    found = Checkpoint(str(tmp_path / "work"), {"loss_options": ["a=1"], "seed": 1}).load()
    assert found is not None
    again, read = found
    assert (again.epochs, again.best, again.best_score) == (3, 1, 0.9)
    assert np.array_equal(read["learner"][0], np.full((2, 2), 2.0)) and read["learner"][1] == 3
    assert np.array_equal(read["best"][0], np.full(3, 1))
    assert len(list((tmp_path / "work").iterdir())) == 3
    point.remove()
    assert not (tmp_path / "work").exists()


def test_many_arrays_keep_their_order(tmp_path: Path) -> None:
    point = Checkpoint(str(tmp_path), {})
    many = [np.array(i) for i in range(120)]
    point.save(Progress([{}], 0, 1.0), {"learner": many, "best": many[::-1]})
    found = point.load()
    assert found is not None
    assert [int(a) for a in found[1]["learner"]] == list(range(120))
    assert [int(a) for a in found[1]["best"]] == list(range(120))[::-1]


def test_one_training_at_a_time_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with held(str(folder)):
        with pytest.raises(UsageError, match="one at a time"), held(str(folder)):
            pass
        assert folder.exists()
    assert not folder.exists()  # nothing was saved
    point = Checkpoint(str(folder), {})
    with held(str(folder)):
        point.save(Progress([{}], 0, 1.0), {**arrays(0), "best": []})
    with held(str(folder)):  # free again
        assert point.load() is not None and point.there()
    point.remove()
    assert not folder.exists() and not point.there()


def test_a_folder_of_somebody_elses_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="new or empty"), held(str(tmp_path)):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_another_training_is_refused_by_what_differs(tmp_path: Path) -> None:
    Checkpoint(str(tmp_path), {"seed": 1, "dims": 4}).save(
        Progress([{}], 0, 1.0), {**arrays(0), "best": []}
    )
    with pytest.raises(UsageError, match=r"other settings \(seed differ\)"):
        Checkpoint(str(tmp_path), {"seed": 2, "dims": 4}).load()


def test_a_torn_state_is_said(tmp_path: Path) -> None:
    point = Checkpoint(str(tmp_path), {})
    point.save(Progress([{}], 0, 1.0), {**arrays(0), "best": [np.array(1)]})
    (tmp_path / "epoch-0001.npz").write_bytes(b"PK torn")
    with pytest.raises(UsageError, match="cannot be read .* Remove that folder"):
        point.load()


def test_a_state_that_was_cut_short_is_said(tmp_path: Path) -> None:
    point = Checkpoint(str(tmp_path), {})
    point.save(Progress([{}], 0, 1.0), {**arrays(0), "best": [np.array(1)]})
    file = tmp_path / "epoch-0001.npz"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UsageError, match="cannot be read .* Remove that folder"):
        point.load()


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"mine")
    (tmp_path / "dogs").mkdir()
    point = Checkpoint(str(tmp_path), {})
    with pytest.raises(UsageError, match="it holds cat.jpg. Name another result"):
        point.load()
    point.save(Progress([{}], 0, 1.0), {**arrays(0), "best": [np.array(1)]})
    point.remove()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cat.jpg", "dogs"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OperationFailedError, match="cannot be written"):
        Checkpoint(str(tmp_path / "file"), {}).save(Progress([{}], 0, 1.0), arrays(0))
