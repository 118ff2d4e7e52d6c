"""The sample gallery: what is made, what is refused, and how hard it is."""

from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from cbir.config import EmbedderSpec
from cbir.errors import OperationFailedError, UsageError
from cbir.evaluate import colour_histogram, precision_at_k
from cbir.images import sample
from cbir.images.batches import prepare
from cbir.images.decode import decode
from cbir.images.sample import PHOTOS, VIEWS, make_sample
from cbir.images.scan import scan
from cbir.types import Pixels, Vectors


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "new" / "gallery"
    report = make_sample(folder)
    assert report.photos == len(PHOTOS) and report.images == len(PHOTOS) * len(VIEWS)
    assert report.manifest == str(folder / "manifest.csv")
    return folder


def rows(gallery: Path) -> list[dict[str, str]]:
    with open(gallery / "manifest.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_manifest_lists_all_files_and_only_them(gallery: Path) -> None:
    listed = rows(gallery)
    assert [row["path"] for row in scan_rows(gallery)] == sorted(row["path"] for row in listed)
    for row in listed:
        label, name = row["path"].split("/")
        assert (row["label"], row["view"]) == (label, name.rsplit(".", 1)[0])
    assert len({row["label"] for row in listed}) == len(PHOTOS) == 18
    assert len({row["view"] for row in listed}) == len(VIEWS) == 9


def scan_rows(gallery: Path) -> list[dict[str, str]]:
    found = scan(str(gallery))
    assert found.ignored == 1 and not found.failures  # the manifest itself
    return [{"path": ref.path} for ref in found.refs]


def test_every_view_is_a_picture_of_its_format_and_differs(gallery: Path) -> None:
    kinds = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    seen = set()
    for row in rows(gallery):
        file = gallery / row["path"]
        made = decode(str(file))
        assert made.format == kinds[file.suffix]
        assert 100 <= max(made.width, made.height) <= 480
        seen.add(hashlib.sha256(made.pixels.tobytes()).hexdigest())
    assert len(seen) == len(PHOTOS) * len(VIEWS)


def test_it_is_small(gallery: Path) -> None:
    assert sum(file.stat().st_size for file in gallery.rglob("*.*")) < 15_000_000


def test_the_same_bytes_come_again_and_a_stale_view_goes(gallery: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    make_sample(again)
    assert digests(again) == digests(gallery)
    # As an older version might have left it: a view that is not made any more, and one damaged.
    (again / "moon" / "old-view.jpg").write_bytes(b"old")
    with open(again / "manifest.csv", "a", encoding="utf-8", newline="") as file:
        file.write("moon/old-view.jpg,moon,old-view\r\n")
    (again / "moon" / "original.jpg").write_bytes(b"damaged")
    (again / "Thumbs.db").write_bytes(b"")
    make_sample(again)
    (again / "Thumbs.db").unlink()
    assert digests(again) == digests(gallery)


def test_a_sample_that_was_interrupted_is_finished(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken off"
    count = iter(range(20))
    save = sample._save

    def stops(path: str, pixels: Pixels) -> None:
        next(count)
        save(path, pixels)

    monkeypatch.setattr(sample, "_save", stops)
    with pytest.raises(StopIteration):
        make_sample(folder)
    assert len(digests(folder)) == 21
    monkeypatch.undo()
    make_sample(folder)
    assert digests(folder) == digests(gallery)


@pytest.mark.parametrize(
    "name", ["notes.txt", "moon/mine.jpg", "sub/deep/a.jpg", "moon/original.jpg"]
)
def test_a_folder_with_anything_else_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"mine")
    with pytest.raises(UsageError, match="also holds") as caught:
        make_sample(tmp_path)
    assert name in str(caught.value)
    assert digests(tmp_path) == {name: hashlib.sha256(b"mine").hexdigest()}


@pytest.mark.parametrize(
    "text", ["path,label\na.jpg,b\n", "\xff", "", '"', "path,label,view,split\n"]
)
def test_a_manifest_of_another_kind_makes_no_sample(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(text.encode("latin-1"))
    (tmp_path / "a.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"also holds 'a\.jpg'"):
        make_sample(tmp_path)
    assert (tmp_path / "a.jpg").read_bytes() == b"mine"


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_a_link_in_the_folder_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"mine")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "moon").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="also holds 'moon'"):
        make_sample(tmp_path / "target")


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="there is a file"):
        make_sample(tmp_path / "file")
    with pytest.raises(OperationFailedError, match="cannot be written"):
        make_sample(tmp_path / "file" / "below")


def p_at_k(vectors: Vectors, labels: list[str]) -> float:
    """Mean P@k over all images as queries, the query itself left out by its row."""
    known = np.array(labels)
    k = len(VIEWS) - 1
    scores = vectors @ vectors.T
    found = []
    for row in range(len(labels)):
        order = [other for other in np.argsort(-scores[row], kind="stable") if other != row]
        found.append(precision_at_k(known[order] == labels[row], k))
    return float(np.mean(found))


def test_the_network_finds_the_views_and_a_colour_histogram_does_not(gallery: Path) -> None:
    """Measured: EfficientNet-Lite0 .998, colour histogram .61."""
    from cbir.embed import Embedder

    listed = rows(gallery)
    labels = [row["label"] for row in listed]
    spec = EmbedderSpec()
    ready = [prepare(str(gallery / row["path"]), spec).pixels for row in listed]
    pixels = np.stack([square for square in ready if square is not None])
    assert 0.5 < p_at_k(colour_histogram(pixels), labels) < 0.85
    embedder = Embedder.load("efficientnet-lite0")
    features = np.concatenate([embedder.features(part) for part in np.array_split(pixels, 6)])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert p_at_k(unit, labels) >= 0.98
