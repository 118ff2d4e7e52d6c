"""`cbir benchmark index` and `cbir benchmark speed`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import CatalogWriter, NewContent, NewFile
from cbir.lifecycle import refresh
from cbir.types import ImageRef
from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]


def test_a_small_index_has_exact_search_alone(command: Run, sample: Sample) -> None:
    done = command("benchmark", "index", "-i", sample.index)
    assert done.code == 0 and "flat (now)" in done.out
    assert "Left out: hnsw, ivf, pq; they take 1,000 images" in done.out
    none = command("benchmark", "index", "-i", sample.index / "nothing")
    assert none.code == 3


def test_kinds_of_a_larger_one(command: Run, sample: Sample, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(sample.index, index)
    rng = np.random.default_rng(0)
    writer = CatalogWriter(str(index))
    row = writer.embedder()
    assert row is not None
    with writer.writing() as seq:
        root = writer.add_root(str(tmp_path / "more"), {})
        for i in range(1500):
            content = b"%016d" % i
            feature = np.maximum(rng.normal(size=row.feature_dims), 0).astype(np.float32)
            writer.put_contents(row.id, [NewContent(content, 1, 1, "PNG", feature)])
            ref = ImageRef(str(tmp_path / "more"), f"{i}.png", 1, 1)
            writer.put_files(seq, [NewFile(root, ref, content)])
    refresh(writer)
    writer.close()
    done = command("benchmark", "index", "-i", index, "--kind", "flat", "--kind", "ivf",
                   "--recall", "0.9", "--json")  # fmt: skip
    found = json.loads(done.out)
    assert done.code == 0 and found["kind"] == "flat" and found["left_out"] == []
    assert [row["kind"] for row in found["rows"]] == ["flat", "ivf"]
    assert found["rows"][1]["recall"] >= 0.9 and found["rows"][1]["queries"] == 166
    text = command("benchmark", "index", "-i", index, "--kind", "ivf", "--recall", "0.9").out
    assert "1,662 images" in text and "recall@10" in text and "flat" not in text


@pytest.mark.parametrize("as_json", [True, False])
def test_speed_of_a_folder(command: Run, sample: Sample, as_json: bool) -> None:
    asked = ["benchmark", "speed", str(sample.photos / "coffee"), "--embedder", "classical/colour"]
    done = command(*asked, *(["--json"] if as_json else []))
    assert done.code == 0
    if as_json:
        found = json.loads(done.out)
        assert found["pictures"] == 9 and found["embedder"] == "classical/colour"
        assert [row["step"] for row in found["rows"]] == [
            "read, decode, resize", "embed, f32", "both, f32"]  # fmt: skip
    else:
        assert "classical/colour; 9 pictures" in done.out and "images/s" in done.out


def test_speed_refuses(command: Run, tmp_path: Path) -> None:
    done = command("benchmark", "speed", tmp_path)
    assert done.code == 2 and "expected pictures below" in done.err
    done = command("benchmark", "speed", "--embedder", "classical/colour", "--precision", "bf16")
    assert done.code == 2 and "classical/colour has none" in done.err
