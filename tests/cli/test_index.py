"""`cbir index` and the commands around it, as a user gives them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import Catalog
from cbir.errors import CbirError
from tests.backbones.photos import SAVING
from tests.broken import write_broken, write_odd
from tests.cli.conftest import Done, Sample
from tests.conftest import picture

Run = Callable[..., Done]


@pytest.fixture
def own(sample: Sample, tmp_path: Path, command: Run) -> Sample:
    """A small gallery and index of its own."""
    made = Sample(tmp_path / "photos", tmp_path / "index")
    for photo in ("coffee", "moon"):
        shutil.copytree(sample.photos / photo, made.photos / photo)
    assert command("index", made.photos, "-i", made.index).code == 0
    return made


def test_what_was_done_is_said(own: Sample, command: Run) -> None:
    done = command("index", "-i", own.index)
    assert done.out.startswith("18 unchanged. Embedded 0 in ")
    assert f"18 images in {own.index}" in done.out and done.err == ""
    (own.photos / "new.jpg").write_bytes(own.view("moon").read_bytes())
    (own.photos / "bad.jpg").write_bytes(b"")
    done = command("index", own.photos, "-i", own.index)
    assert "1 added, 18 unchanged, 1 failed. Embedded 0" in done.out
    assert "bad.jpg" in done.err and "empty file" in done.err
    assert command("index", own.photos, "-i", own.index, "--strict").code == 4
    found = json.loads(command("index", "-i", own.index, "--json").out)
    assert found["unchanged"] == 19 and found["known_failures"] == 1 and found["failures"] == []
    done = command("info", "--failures", "-i", own.index)
    assert "bad.jpg" in done.out and "empty file" in done.out
    done = command("index", "-i", own.index, "--retry-failed")
    assert "1 failed" in done.out


def test_an_empty_folder_and_few_images(tmp_path: Path, command: Run) -> None:
    photos, index = tmp_path / "photos", tmp_path / "index"
    photos.mkdir()
    done = command("index", photos, "-i", index)
    assert done.code == 0 and "no images found" in done.out
    for name in ("info", "check"):
        assert command(name, "-i", index).code == 0
    assert command("export", "--csv", "-", "-i", index).code == 0
    assert command("export", "--vectors", tmp_path / "v.npz", "-i", index).code == 0
    picture(1).save(tmp_path / "q.png")
    done = command("query", tmp_path / "q.png", "-i", index)
    assert done.code == 2 and "holds no images yet" in done.err
    for n in (1, 2, 5):
        for i in range(n):
            picture(i).save(photos / f"{i}.png")
        assert command("index", photos, "-i", index).code == 0
        done = command("query", tmp_path / "q.png", "-i", index, "--json")
        assert len(json.loads(done.out)["hits"]) == n
        assert command("check", "-i", index).code == 0
        assert f"({n} different)" in command("info", "-i", index).out
        command("export", "--vectors", tmp_path / "v.npz", "-i", index)
        with np.load(tmp_path / "v.npz") as arrays:
            assert arrays["vectors"].shape == (n, 1280)
    assert command("remove", "id:1", photos / "1.png", "-i", index).out == "2 images removed\n"
    assert command("remove", "id:1", "-i", index).code == 2


def test_another_embedder_is_refused(own: Sample, command: Run) -> None:
    for options in (("--embedder", "resnet50"), ("--resize", "pad"), ("--input-size", 192),
                    ("--cut", "block10_add")):  # fmt: skip
        done = command("index", own.photos, "-i", own.index, *options)
        assert done.code == 3 and "cbir index FOLDER -i OTHER --embedder" in done.err
    same = command("index", own.photos, "-i", own.index, "--embedder", "efficientnet-lite0")
    assert same.code == 0
    done = command("index", own.photos, "-i", own.index, "--embedder", "resnet5")
    assert done.code == 2 and "resnet50" in done.err


def test_options_that_change_how_it_is_derived(own: Sample, command: Run) -> None:
    for options in (("--dims", 16), ("--projection", "none"), ("--projection", "pca"),
                    ("--refit",)):  # fmt: skip
        done = command("index", "-i", own.index, *options, "--json")
        assert done.code == 0 and json.loads(done.out)["embedded"] == 0
    assert command("index", "-i", own.index, "--dims", 0).code == 2


def test_exclude_hidden_and_prune(own: Sample, command: Run) -> None:
    done = command("index", own.photos, "-i", own.index, "--exclude", "moon")
    assert "9 removed" in done.out
    assert "9 images" in command("index", "-i", own.index).out
    assert "9 added" in command("index", "-i", own.index, "--exclude", "").out
    (own.photos / ".hidden.png").write_bytes(own.view("coffee", "warm.webp").read_bytes())
    assert "19 images" in command("index", "-i", own.index, "--hidden").out
    shutil.rmtree(own.photos)
    done = command("index", "-i", own.index)
    assert "19 images" in done.out and "cbir index --prune" in done.err
    assert "0 images" in command("index", "-i", own.index, "--prune").out


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_every_input_policy(own: Sample, command: Run, tmp_path: Path, resize: str) -> None:
    index = tmp_path / f"index-{resize}"
    done = command("index", own.photos, "-i", index, "--resize", resize, "--input-size", 128,
                   "--cut", "block10_add")  # fmt: skip
    assert done.code == 0
    assert f"128 px, {resize}, cut at block10_add" in command("info", "-i", index).out
    done = command("query", own.view("moon"), "-i", index, "--json", "--crop", "0.1,0.1,0.8,0.8")
    assert "moon" in json.loads(done.out)["hits"][0]["path"]


@SAVING
def test_weights_from_a_file_are_saved_with_the_index(
    own: Sample, command: Run, tmp_path: Path
) -> None:
    import keras

    small = ("--embedder", "mobilenetv3small", "--input-size", "64")
    keras.utils.set_random_seed(3)
    model = keras.applications.MobileNetV3Small((64, 64, 3), include_top=False, weights=None)
    weights, index = str(tmp_path / "own.weights.h5"), tmp_path / "other"
    model.save_weights(weights)
    assert command("index", own.photos, "-i", index, *small, "--weights", weights).code == 0
    os.remove(weights)
    (saved,) = (index / "embedders").iterdir()
    assert (saved / "model.keras").exists()
    picture(5).save(tmp_path / "q.png")
    assert command("query", tmp_path / "q.png", "-i", index).code == 0
    assert command("check", "-i", index).code == 0
    done = command("index", own.photos, "-i", index, *small, "--weights", tmp_path / "none.h5")
    assert done.code == 2 and "there is none at" in done.err
    done = command("index", own.photos, "-i", tmp_path / "third", "--embedder", saved)
    assert done.code == 0
    done = command("index", own.photos, "-i", tmp_path / "third", "--embedder", saved,
                   "--resize", "pad")  # fmt: skip
    assert done.code == 2 and "has all its settings" in done.err


def test_check_and_repair(own: Sample, command: Run) -> None:
    done = command("check", "-i", own.index)
    assert done.code == 0 and "18 images, no faults" in done.out
    next((own.index / "ann").glob("*.faiss")).write_bytes(b"torn")
    os.remove(own.view("moon"))
    done = command("check", "-i", own.index)
    assert done.code == 6 and "FAISS file corrupt" in done.out and "file gone" in done.out
    assert len(json.loads(command("check", "-i", own.index, "--json").out)["faults"]) >= 2
    done = command("query", own.view("coffee"), "-i", own.index)
    assert done.code == 0 and "cbir check --repair" in done.err
    done = command("check", "--repair", "-i", own.index)
    assert done.code == 0 and "repaired: FAISS file" in done.out
    assert command("check", "-i", own.index).code == 0


def test_info_says_what_it_is(own: Sample, command: Run) -> None:
    done = command("info", "-i", own.index)
    assert "efficientnet-lite0 (imagenet, 224 px, squash)" in done.out
    found = json.loads(command("info", "-i", own.index, "--json").out)
    assert found["images"] == 18 and found["embedder"]["input_size"] == 224


def test_models_lists_all_and_layers(command: Run) -> None:
    done = command("models")
    assert "efficientnet-lite0" in done.out and "convnexttiny" in done.out
    table = json.loads(command("models", "--json").out)
    assert len([m for m in table if m["kind"] == "stock"]) == 51 and {
        "name",
        "dims",
        "weights",
        "licence",
    } <= set(table[0])
    done = command("models", "efficientnet-lite0")
    assert "block10_add" in done.out and "14 x 14 x 112" in done.out
    assert command("models", "nonsense").code == 2


def test_a_disk_that_is_full(own: Sample, tmp_path: Path) -> None:
    """Files cannot grow: as on a full disk. What was there before still works."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    program = [sys.executable, "-m", "cbir", "index", str(own.photos), "-i", str(own.index)]
    for i in range(40):
        picture(i).save(own.photos / f"{i}.png")
    done = subprocess.run(program, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 5, done.stderr
    assert "Error:" in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0 and "58 images" in done.stdout


def stored(index: Path) -> int:
    """Images in an index that may be being made."""
    try:
        with Catalog(str(index)) as catalog:
            return catalog.count()
    except CbirError:
        return 0


def test_an_interrupt_keeps_what_is_done(own: Sample, tmp_path: Path) -> None:
    for i in range(300):
        picture(i, (300, 300)).save(own.photos / f"{i}.bmp")
    index = tmp_path / "other"
    program = [sys.executable, "-m", "cbir", "index", str(own.photos), "-i", str(index)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and stored(index) == 0:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "run the same command again" in err
    assert "Traceback" not in err
    kept = stored(index)
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0 and "318 images" in done.stdout
    assert 0 < kept < 318 and f"{kept} unchanged" in done.stdout


def test_broken_files_never_stop_a_job(tmp_path: Path, command: Run) -> None:
    """60 and more broken files: all listed, none crashed, memory as with sound files."""
    sound, broken = tmp_path / "sound", tmp_path / "broken"
    sound.mkdir()
    broken.mkdir()
    good = write_odd(sound)
    names = write_broken(broken)
    assert len(names) >= 60
    found = json.loads(command("index", sound, "-i", tmp_path / "a", "--json").out)
    assert found["failures"] == [] and found["added"] == len(good)
    peaks = {}
    for folder, code in ((sound, 0), (broken, 4)):
        program = [sys.executable, "-m", "cbir", "index", str(sound), str(folder), "-i",
                   str(tmp_path / f"index {folder.name}"), "--json", "--strict"]  # fmt: skip
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        printed = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == code
        peaks[folder.name] = usage.ru_maxrss / 1024
    failures = json.loads(printed)["failures"]
    assert sorted(Path(f["path"]).name for f in failures) == sorted(names)
    assert all(f["reason"] for f in failures)
    assert peaks["broken"] - peaks["sound"] < 300, peaks


def test_progress_only_on_a_terminal(own: Sample) -> None:
    import fcntl
    import pty
    import struct
    import termios

    picture(3).save(own.photos / "another.png")
    (own.photos / "x").mkdir()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    program = [sys.executable, "-m", "cbir", "index", str(own.photos), "-i", str(own.index)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    out, _ = process.communicate(timeout=60)
    os.close(master)
    assert b"indexing: " in shown and b"images/s" in shown and b"left" in shown
    assert out.startswith(b"1 added")


def test_the_profile_says_where_the_time_went(
    command: Callable[..., Done], photos: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    done = command("index", photos, "-i", index, "--profile")
    names = [line.split()[0] for line in done.out.splitlines()[-8:]]
    assert names == ["scanning", "decoding", "embedding", "storing", "waiting", "waiting",
                     "deriving", "calibrating"]  # fmt: skip
    assert "ms an image (keras on tensorflow)" in done.out
    again = json.loads(command("index", photos, "-i", index, "--json", "--profile").out)
    assert again["run_by"] == "" and again["stages"]["embed_s"] == again["stages"]["decode_s"] == 0
    assert set(again["stages"]) == {"scan_s", "decode_s", "embed_s", "write_s", "derive_s",
                                    "wait_for_decode_s", "wait_for_embed_s"}  # fmt: skip


def test_the_kind_of_search_is_chosen_and_said(own: Sample, command: Run) -> None:
    """18 images are too few for a graph: that is said, and the wish stays for when there are."""
    before = json.loads(command("info", "-i", own.index, "--json").out)
    assert before["search"]["asked"] == "auto" and before["search"]["kind"] == "flat"
    done = command("index", "-i", own.index, "--kind", "hnsw", "--recall", "0.9",
                   "--memory", "1.5 GB", "--latency", "3", "--json")  # fmt: skip
    found = json.loads(done.out)
    assert done.code == 0 and found["embedded"] == 0 and found["search"]["asked"] == "hnsw"
    after = json.loads(command("info", "-i", own.index, "--json").out)
    assert after["generation"] == before["generation"] + 1
    spec = after["index_spec"]
    assert (spec["kind"], spec["recall"], spec["latency_ms"]) == ("hnsw", 0.9, 3)
    assert spec["memory"] == 3 << 29
    text = command("info", "-i", own.index).out
    assert "flat (exact; " in text and "hnsw was asked for; it takes 1,000 images" in text
    assert command("query", own.view("moon"), "-i", own.index, "-k", "3").code == 0


def test_reindex_makes_a_generation_without_embedding(own: Sample, command: Run) -> None:
    before = json.loads(command("info", "-i", own.index, "--json").out)
    found = json.loads(command("index", "-i", own.index, "--reindex", "--json").out)
    assert found["embedded"] == 0 and found["generation"] == before["generation"] + 1
    assert found["calibrated"] is None and found["search"]["kind"] == "flat"
    assert json.loads(command("index", "-i", own.index, "--json").out)["generation"] == (
        found["generation"])  # fmt: skip


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "pq", "flat"])
def test_each_kind_answers_a_query(
    own: Sample, command: Run, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbir.index.planner.LEAST", 10)
    monkeypatch.setattr("cbir.index.live.FEW", 2)
    exact = command("query", own.view("moon"), "-i", own.index, "--json").out
    assert command("index", "-i", own.index, "--kind", kind).code == 0
    text = command("info", "-i", own.index).out
    assert f"search       {kind} (" in text and "bytes an image" in text
    found = command("query", own.view("moon"), "-i", own.index, "--json").out
    ours, theirs = (json.loads(out)["hits"] for out in (found, exact))
    assert [hit["path"] for hit in ours] == [hit["path"] for hit in theirs]
    assert np.allclose([hit["score"] for hit in ours], [hit["score"] for hit in theirs], atol=1e-5)
    assert command("check", "-i", own.index).code == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("--memory", "much"), ("--memory", "0"), ("--memory", "GB"), ("--memory", "2XB"),
     ("--recall", "0"), ("--recall", "1.5"), ("--latency", "0"), ("--kind", "tree")],
)  # fmt: skip
def test_search_options_that_do_not_fit(own: Sample, command: Run, option: str, value: str) -> None:
    done = command("index", "-i", own.index, option, value)
    assert done.code == 2 and option in done.err
