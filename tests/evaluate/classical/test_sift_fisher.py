"""SIFT Fisher vectors: learning, keeping what was learnt, telling pictures apart."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from cbir.errors import EmbedderError
from cbir.evaluate.classical import CLASSICAL, FisherSpec, SiftFisher, SiftSpec
from cbir.images import edits, resize
from cbir.types import Pixels

SMALL = FisherSpec(pca=16, components=4)


def photos(side: int = 160) -> Pixels:
    names = ("astronaut", "coffee", "chelsea", "rocket")
    return np.stack([resize(np.asarray(getattr(data, name)()), side) for name in names])


@pytest.fixture(scope="module")
def learnt() -> SiftFisher:
    return SiftFisher(fisher=SMALL).fit(photos(), seed=0)


def test_an_edited_picture_is_nearest_to_its_source(learnt: SiftFisher) -> None:
    pixels = photos()
    found = learnt.features(pixels)
    assert found.dtype == np.float32 and found.shape == (4, learnt.feature_dims)
    assert learnt.feature_dims == 2 * 4 * (16 + 3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    darker = np.stack([edits.brightness(p, 0.7) for p in pixels])
    assert (learnt.features(darker) @ found.T).argmax(1).tolist() == [0, 1, 2, 3]


def test_nothing_is_done_before_it_is_fitted() -> None:
    plain = CLASSICAL["classical/sift-fv"]()
    assert isinstance(plain, SiftFisher) and not plain.fitted
    for ask in (
        lambda: plain.fingerprint,
        lambda: plain.feature_dims,
        lambda: plain.dump(),
        lambda: plain.features(photos()),
    ):
        with pytest.raises(EmbedderError, match=r"cbir\.evaluate\.fitted"):
            ask()


def test_what_was_learnt_can_be_kept(learnt: SiftFisher) -> None:
    again = SiftFisher(fisher=SMALL).restore(learnt.dump())
    assert again.fitted and again.fingerprint == learnt.fingerprint
    assert np.array_equal(again.features(photos()), learnt.features(photos()))
    for bad in (b"", b"nonsense", learnt.dump()[:200]):
        with pytest.raises(ValueError, match="not a Fisher model"):
            SiftFisher().restore(bad)


def test_the_fingerprint_is_of_settings_and_arrays(learnt: SiftFisher) -> None:
    same = SiftFisher(fisher=SMALL).fit(photos(), seed=0)
    assert same.fingerprint == learnt.fingerprint
    others = [
        SiftFisher(fisher=SMALL).fit(photos(), seed=1),
        SiftFisher(fisher=SMALL).fit(photos()[:3], seed=0),
        SiftFisher(SiftSpec(step=7), SMALL, learnt.model),
        SiftFisher(fisher=FisherSpec(pca=16, components=5), model=learnt.model),
    ]
    assert len({learnt.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_places_can_be_left_out() -> None:
    spec = FisherSpec(pca=8, components=2, places=False)
    found = SiftFisher(fisher=spec).fit(photos())
    assert found.feature_dims == 2 * 2 * 8
    assert found.features(photos()).shape == (4, 32)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_pictures_without_contrast(n: int) -> None:
    flat = np.full((n, 160, 160, 3), 90, np.uint8)
    found = SiftFisher(fisher=SMALL).fit(flat)
    rows = found.features(flat)
    assert rows.shape == (n, found.feature_dims) and not rows.any()
    assert np.isfinite(found.features(photos())).all()


def test_settings_round_trip() -> None:
    for spec in (SiftSpec(cells=(3, 4), step=2), SMALL):
        assert type(spec).from_dict(spec.to_dict()) == spec
