"""When a projection is fitted, and that growing gives what indexing at once gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import Catalog, CatalogWriter, NewContent, NewFile, create_catalog
from cbir.config import IndexSpec
from cbir.index import derived_files
from cbir.lifecycle import refresh
from cbir.lifecycle.generations import FIT_AT
from cbir.query import State, load_state
from cbir.types import ImageRef, Vectors
from tests.conftest import GridEmbedder
from tests.lifecycle.helpers import run

DIMS = 24


def clustered(n: int, cluster: int) -> Vectors:
    """Features of one folder: they vary in directions of their own."""
    rng = np.random.default_rng(cluster)
    basis = rng.normal(size=(6, DIMS))
    centre = rng.normal(size=DIMS) * 2
    latent = np.random.default_rng(100 + cluster).normal(size=(n, 6))
    return np.asarray(centre + latent @ basis + 3, np.float32)


class Gallery:
    """A catalog that is filled with made features, without pictures."""

    def __init__(self, index: Path) -> None:
        create_catalog(str(index))
        self.writer = CatalogWriter(str(index))
        with self.writer.writing():
            self.root = self.writer.add_root("/photos", {})
            self.embedder = self.writer.add_embedder("f", "{}", DIMS)
            self.writer.set("embedder", "f")
            self.writer.set("index_spec", IndexSpec(dims=8).to_dict())

    def add(self, features: Vectors, cluster: int) -> None:
        with self.writer.writing() as seq:
            for i, feature in enumerate(features):
                name = f"{cluster}-{i}"
                content = name.encode().ljust(16)
                self.writer.put_contents(self.embedder, [NewContent(content, 1, 1, "PNG", feature)])
                ref = ImageRef("/photos", name, 1, 1)
                self.writer.put_files(seq, [NewFile(self.root, ref, content)])

    def state(self) -> State:
        with self.writer.reading():
            state = load_state(self.writer)
        assert state is not None
        return state


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Gallery]]:
    made: list[Gallery] = []

    def new() -> Gallery:
        made.append(Gallery(tmp_path / f"index{len(made)}"))
        return made[-1]

    yield new
    for gallery in made:
        gallery.writer.close()


def test_below_500_pictures_features_are_only_scaled(make: Callable[[], Gallery]) -> None:
    gallery = make()
    gallery.add(clustered(FIT_AT - 1, 0), 0)
    done = refresh(gallery.writer)
    assert done.new and done.fitted == 0 and done.dims == DIMS
    gallery.add(clustered(1, 1), 1)
    done = refresh(gallery.writer)
    assert done.new and done.fitted == FIT_AT and done.dims == 8


def test_it_is_fitted_again_when_the_gallery_has_grown_by_a_quarter(
    make: Callable[[], Gallery],
) -> None:
    gallery = make()
    gallery.add(clustered(600, 0), 0)
    first = refresh(gallery.writer)
    gallery.add(clustered(149, 1), 1)
    second = refresh(gallery.writer)
    assert not second.new and second.fitted == 600
    gallery.add(clustered(1, 2), 2)
    third = refresh(gallery.writer)
    assert third.new and third.fitted == 750 and third.generation > first.generation
    assert refresh(gallery.writer, refit=True).generation > third.generation


def test_growing_folder_by_folder_equals_indexing_at_once(make: Callable[[], Gallery]) -> None:
    """Bit for bit, whatever the order: the sample depends on the contents alone."""
    parts = [(clustered(600, c), c) for c in range(3)]
    grown, once = make(), make()
    for features, cluster in parts:
        grown.add(features, cluster)
        refresh(grown.writer)
    for features, cluster in reversed(parts):
        once.add(features, cluster)
    refresh(once.writer)
    one, other = grown.state(), once.state()
    assert one.generation.fitted == other.generation.fitted == 1800
    assert one.projection.to_bytes() == other.projection.to_bytes()
    queries = one.projection.apply(parts[1][0][:20])
    scores, _ = one.live.search(queries, 5)
    same, _ = other.live.search(queries, 5)
    assert np.array_equal(scores, same)
    first_only = make()
    first_only.add(*parts[0])
    refresh(first_only.writer)
    assert first_only.state().projection.to_bytes() != one.projection.to_bytes()


def test_shrinking_below_400_goes_back(make: Callable[[], Gallery]) -> None:
    gallery = make()
    gallery.add(clustered(500, 0), 0)
    refresh(gallery.writer)
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, range(1, 101))
    assert not refresh(gallery.writer).new
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, [101])
    done = refresh(gallery.writer)
    assert done.new and done.fitted == 0 and len(gallery.state().live) == 399


def test_small_changes_wait_beside_the_derived_file(make: Callable[[], Gallery]) -> None:
    gallery = make()
    gallery.add(clustered(400, 0), 0)
    refresh(gallery.writer)
    before = derived_files(gallery.writer.index)
    gallery.add(clustered(3, 1), 1)
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, [7])
    assert not refresh(gallery.writer).written
    assert derived_files(gallery.writer.index) == before
    state = gallery.state()
    assert len(state.live) == 402 and state.live.pending == 4
    ids = set(state.live.search(state.projection.apply(clustered(1, 0)), 402)[1][0].tolist())
    assert 7 not in ids and {401, 402, 403} <= ids
    gallery.add(clustered(20, 2), 2)
    assert refresh(gallery.writer).written
    assert len(derived_files(gallery.writer.index)) == 1 and gallery.state().live.pending == 0


def test_dims_and_projection_change_without_embedding(
    tmp_path: Path, photos: Path, grid: GridEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbir.lifecycle.generations.FIT_AT", 10)
    index = tmp_path / "index"
    run(index, photos, grid=grid, spec=IndexSpec(dims=5))
    for spec, dims in ((IndexSpec(dims=3), 3), (IndexSpec(projection="none"), 48)):
        done = run(index, grid=grid, spec=spec).derived
        assert done is not None and done.dims == dims
    assert grid.seen == 12
    with Catalog(str(index)) as catalog:
        live = catalog.generation()
        assert live is not None and json.loads(live.spec)["projection"] == "none"
        assert catalog.setting("index_spec")["projection"] == "none"
