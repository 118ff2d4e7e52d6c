"""Finished measurements: found again only where everything that made them is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cbir.errors import OperationFailedError
from cbir.evaluate import Answers
from cbir.evaluate.ground_truth import Truth, from_labels
from cbir.evaluate.kept import Kept, contents_of, key_of, protocol_key
from cbir.evaluate.protocol import Answer

KEY = key_of({"a": 1})


def answers(hits: int = 3) -> Answers:
    one = Answer(0, list(range(hits)), [0.5] * hits, [1], [0.5], 1)
    return Answers("t", "x, raw", hits, (one,), {"fingerprint": "f"})


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = Kept(str(tmp_path / "new" / "folder"))
    assert kept.answers("x, raw", KEY) is None and kept.record("speed x", KEY) == {}
    assert not (tmp_path / "new").exists()
    made = kept.keep_answers("x, raw", KEY, answers())
    kept.keep_record("speed x", KEY, {"laps": [[1.5, None]]})
    found = kept.answers("x, raw", KEY)
    assert found is not None and found.to_json() == made.to_json()
    assert found.about["fingerprint"] == "f"
    assert kept.record("speed x", KEY)["laps"] == [[1.5, None]]
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 2


def test_another_key_a_torn_file_and_another_format_are_not_there(tmp_path: Path) -> None:
    kept = Kept(str(tmp_path))
    kept.keep_answers("x, raw", KEY, answers())
    assert kept.answers("x, raw", key_of({"a": 2})) is None
    assert kept.answers("x, raw", KEY[:16] + "0" * 16) is None  # the same file name, another key
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    for text in ("", whole[: len(whole) // 2], "{}", "[1]", whole.replace('"format":2', "2")):
        file.write_text(text)
        assert kept.answers("x, raw", KEY) is None
        assert kept.record("x, raw", KEY) == {}


def test_names_that_differ_in_signs_only_have_files_of_their_own(tmp_path: Path) -> None:
    kept = Kept(str(tmp_path))
    kept.keep_answers("a/b, raw", key_of({"n": 1}), answers(1))
    kept.keep_answers("a b: raw", key_of({"n": 2}), answers(2))
    first, second = kept.answers("a/b, raw", key_of({"n": 1})), kept.answers(
        "a b: raw", key_of({"n": 2}))  # fmt: skip
    assert first is not None and second is not None
    assert (first.gallery, second.gallery) == (1, 2)


def test_what_cannot_be_written_or_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailedError, match="--output"):
        Kept(str(tmp_path / "file" / "below")).keep_answers("x", KEY, answers())
    kept = Kept(str(tmp_path))
    (tmp_path / f"x-{KEY[:16]}.json").mkdir()
    with pytest.raises(OperationFailedError, match="cannot be read"):
        kept.answers("x", KEY)


def labelled(folder: Path, *names: str) -> Truth:
    paths = [str(folder / name) for name in names]
    everything = range(len(names))
    return from_labels("t", paths, ["a"] * len(names), (everything, everything))


def test_a_protocol_is_its_contents_and_questions_not_its_place(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            (tmp_path / folder / name).write_text(f"content of {name}")
    here, there = (labelled(tmp_path / f, "a", "b", "c") for f in ("here", "there"))
    keys = [protocol_key(t, contents_of(t)) for t in (here, there)]
    assert keys[0] == keys[1]
    (tmp_path / "there" / "c").write_text("changed")
    assert protocol_key(there, contents_of(there)) != keys[0]
    fewer = labelled(tmp_path / "here", "a", "b")
    assert protocol_key(fewer, contents_of(fewer)) != keys[0]
    asked = from_labels("t", here.paths, ["a"] * 3, (range(2), range(3)))
    assert protocol_key(asked, contents_of(asked)) != keys[0]
    (tmp_path / "here" / "a").unlink()
    seen: list[int] = []
    assert contents_of(here, seen.append)[0] == b"" and sum(seen) == 3


WRITER = """
import sys
from cbir.evaluate.kept import Kept
from tests.evaluate.test_kept import KEY, answers
kept, made = Kept(sys.argv[1]), answers(20000)
print("ready", flush=True)
while True:
    kept.keep_answers("x", KEY, made)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not there")
def test_a_kill_leaves_no_torn_file(tmp_path: Path) -> None:
    for round_ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)],
                                   stdout=subprocess.PIPE)  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        while not list(tmp_path.glob("*.json")):  # the first file is there before the kill
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.15 + 0.037 * round_)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = Kept(str(tmp_path)).answers("x", KEY)
        assert found is not None and found.gallery == 20000
