"""Which systems a grid has, and what they are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from cbir.config import ComparedKind, EmbedderSpec, IndexSpec, ProjectionKind, ResizePolicy
from cbir.embed.pooling import POOLINGS
from cbir.errors import EmbedderError, UsageError
from cbir.evaluate import CLASSICAL, Axes, Fittable, at_hand, grid
from cbir.evaluate.speed import STORES

LITE0, LITE1 = "efficientnet-lite0", "efficientnet-lite1"


def names(axes: Axes, fitted: bool = True) -> list[str]:
    return [c.system(spec) for c in grid(axes, fitted) for spec in c.specs]


def test_the_product_of_all_axes_and_the_floor() -> None:
    axes = Axes((LITE0, LITE1), ("squash", "crop"), dims=(64, 128), projections=("pca", "none"))
    found = names(axes)
    assert len(found) == 2 * 2 * 3 + 1 == len(set(found))  # a raw feature has one length
    assert found[:4] == [f"{LITE0}, pca 64", f"{LITE0}, pca 128", f"{LITE0}, raw",
                         f"{LITE0}, crop, pca 64"]  # fmt: skip
    assert found[-1] == "classical/colour, raw"


def test_every_value_of_every_registry_is_taken() -> None:
    axes = Axes((LITE0,), get_args(ResizePolicy), (224, 320), tuple(POOLINGS),
                projections=get_args(ProjectionKind), kinds=get_args(ComparedKind))  # fmt: skip
    count = len(get_args(ResizePolicy)) * 2 * len(POOLINGS) * len(get_args(ProjectionKind))
    assert len(names(axes)) == count * len(get_args(ComparedKind)) + 1
    assert set(STORES) == set(get_args(ComparedKind))
    for name in CLASSICAL:
        made = CLASSICAL[name]()
        own = made.recipe if isinstance(made, Fittable) else made.fingerprint
        assert grid(Axes((name,)))[0].identity == own


def test_a_name_says_what_is_not_the_default() -> None:
    found = names(Axes((LITE1,), ("pad",), (None, 240, 320), dims=(8,)))
    assert found == [f"{LITE1}, pad, pca 8", f"{LITE1}, 320 px, pad, pca 8",
                     "classical/colour, raw"]  # fmt: skip


def test_the_floor_comes_once_and_policies_do_not_multiply_what_has_its_own() -> None:
    axes = Axes(("classical/colour",), ("squash", "crop", "pad"), (100, 200))
    assert names(axes) == ["classical/colour, pca 256", "classical/colour, raw"]
    assert names(Axes(("classical/colour",), projections=("none",))) == ["classical/colour, raw"]
    twice = names(Axes((LITE0, LITE0, "Efficientnet_Lite0")))
    assert twice == [f"{LITE0}, pca 256", "classical/colour, raw"]


def test_a_small_gallery_has_no_projection_to_compare() -> None:
    axes = Axes((LITE0,), dims=(64, 128), projections=("pca", "none"))
    assert names(axes, fitted=False) == [f"{LITE0}, raw", "classical/colour, raw"]


def test_what_does_not_exist_is_said() -> None:
    with pytest.raises(UsageError, match="expected a backbone"):
        grid(Axes(("no-such-net",)))
    with pytest.raises(UsageError, match="pooling: expected one of gap"):
        grid(Axes((LITE0,), poolings=("max",)))
    with pytest.raises(UsageError, match="resize"):
        grid(Axes((LITE0,), ("stretch",)))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="input_size"):
        grid(Axes((LITE0,), input_sizes=(4,)))


def test_a_damaged_folder_is_a_candidate_that_cannot_be_loaded(tmp_path: Path) -> None:
    (broken, _) = grid(Axes((str(tmp_path),)))
    assert broken.spec is None and "holds no embedder" in broken.problem
    with pytest.raises(EmbedderError, match="holds no embedder"):
        broken.load()


def test_a_saved_embedder_is_known_by_its_folder_and_its_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    spec = replace(EmbedderSpec(), resize="crop", weights="file")
    card = {"version": 1, "fingerprint": "f" * 32, "feature_dims": 1280, "spec": spec.to_dict()}
    (folder / "embedder.json").write_text(json.dumps(card))
    (saved, _) = grid(Axes((str(folder),), ("squash", "pad")))
    assert (saved.spec, saved.identity) == (spec, "f" * 32)
    assert (
        saved.system(IndexSpec(64, kind="flat")) == f"mine ({LITE0}), pca 64"
        and saved.group == saved.name
    )


def test_the_default_is_first_of_what_is_at_hand() -> None:
    found = at_hand()
    assert found[0] == LITE0 and LITE1 in found and "resnet50" not in found


def test_weights_from_a_file_are_known_by_their_content(tmp_path: Path) -> None:
    file = tmp_path / "w.weights.h5"
    file.write_bytes(b"one")
    axes = Axes(("resnet50", LITE0), weights={"ResNet-50": str(file)})
    own, stock, _ = grid(axes)
    assert own.spec is not None and own.spec.weights == "file" and stock.identity == ""
    file.write_bytes(b"two")
    assert grid(axes)[0].identity != own.identity != ""
    with pytest.raises(UsageError, match="expected a file"):
        grid(Axes((LITE0,), weights={LITE0: str(tmp_path / "none")}))
