"""Matches of an index's hits: rising never, identical 1, filters, crops, and no match at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from sklearn.isotonic import IsotonicRegression

from cbir.catalog import CatalogWriter
from cbir.config import QuerySpec
from cbir.errors import UsageError
from cbir.query import Index
from cbir.types import Ranking
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import ids, run

N = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures, a copy of the first, and their calibrated index."""
    made = tmp_path_factory.mktemp("matching")
    (made / "photos").mkdir()
    for i in range(N):
        picture(i).save(made / f"photos/{i:02d}.png")
    shutil.copy(made / "photos/00.png", made / "photos/copy.png")
    lines = [f"{i:02d}.png,{'ab'[i % 2]}" for i in range(N)]
    (made / "photos/meta.csv").write_text("\n".join(["path,label", *lines, ""]))
    done = run(made / "index", made / "photos", grid=GridEmbedder(),
               metadata=str(made / "photos/meta.csv"))  # fmt: skip
    assert done.calibrated
    return made


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[Index]:
    with Index(str(folder / "index"), GridEmbedder()) as index:
        yield index


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Index]:
    """A small index that is not calibrated."""
    (tmp_path / "photos").mkdir()
    for i in range(5):
        picture(i).save(tmp_path / f"photos/{i}.png")
    run(tmp_path / "index", tmp_path / "photos", grid=GridEmbedder())
    with Index(str(tmp_path / "index"), GridEmbedder()) as index:
        yield index


def sound(ranking: Ranking) -> list[float]:
    """The matches, which must all be there, in 0..1, and fall."""
    matches = [hit.match for hit in ranking.hits]
    assert all(match is not None and 0 <= match <= 1 for match in matches)
    found = [float(match) for match in matches if match is not None]
    assert found == sorted(found, reverse=True)
    assert all(hit.match == 1.0 for hit in ranking.hits if hit.identical)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None,
          max_examples=60)  # fmt: skip
@given(
    seed=st.integers(0, 200), k=st.sampled_from([1, 2, 10, N, N + 1, 500]),
    where=st.sampled_from([(), ("label=a",), ("path~*1.png",)]), keep=st.booleans(),
    crop=st.sampled_from([None, "0,0,0.5,0.5", "0.2,0.2,0.7,0.6"]), by_id=st.booleans(),
)  # fmt: skip
def test_matches_fall_with_rank(
    opened: Index, seed: int, k: int, where: tuple[str, ...], keep: bool, crop: str | None,
    by_id: bool,
) -> None:  # fmt: skip
    asked = 1 + seed % N if by_id else np.asarray(picture(seed))
    spec = QuerySpec(k, where=where, keep_self=keep)
    matches = sound(opened.query(asked, spec=spec, crop=crop))
    assert 0 < len(matches) <= min(k, N + 1)


def test_a_copy_elsewhere_is_certain(opened: Index, folder: Path) -> None:
    for asked in (str(folder / "photos/00.png"), ids(folder / "index")["00.png"]):
        ranking = opened.query(asked, k=3)
        assert Path(ranking.hits[0].path).name == "copy.png" and sound(ranking)[0] == 1.0
        assert sound(ranking)[1] < 0.9
    kept = opened.query(str(folder / "photos/00.png"), spec=QuerySpec(k=4, keep_self=True))
    assert sound(kept)[:2] == [1, 1] and kept.hits[1].identical and not kept.hits[2].identical


def test_an_edited_copy_matches_and_a_new_picture_does_not(opened: Index) -> None:
    edited = ImageEnhance.Brightness(picture(7)).enhance(0.9)
    found = opened.query(edited, k=5)
    assert Path(found.hits[0].path).name == "07.png" and sound(found)[0] > 0.85
    new = [sound(opened.query(np.asarray(picture(seed)), k=5))[0] for seed in range(300, 340)]
    assert np.median(new) < 0.2 and np.mean([match >= 0.9 for match in new]) <= 0.05


def test_a_filter_does_not_change_what_a_match_is_judged_by(opened: Index) -> None:
    """The copy stands out of the whole gallery, even if it is the only one asked for."""
    edited = ImageEnhance.Brightness(picture(7)).enhance(0.9)
    alone = opened.query(edited, spec=QuerySpec(where=("path~07.png",)))
    whole = opened.query(edited, k=1)
    assert len(alone.hits) == 1 and alone.hits[0].match == whole.hits[0].match


def test_a_crop_of_itself_is_not_certain(opened: Index) -> None:
    """Part of a picture is not that picture, byte for byte."""
    found = opened.query(8, spec=QuerySpec(k=3, keep_self=True), crop="0,0,0.3,0.3")
    assert sound(found)[0] < 1.0 and not any(hit.identical for hit in found.hits)


def test_a_file_that_changed_since_is_not_certain(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "photos", tmp_path / "photos")
    run(tmp_path / "index", tmp_path / "photos", grid=GridEmbedder())
    picture(999).save(tmp_path / "photos/05.png")
    with Index(str(tmp_path / "index"), GridEmbedder()) as index:
        asked = str(tmp_path / "photos/05.png")
        found = index.query(asked, spec=QuerySpec(k=N, keep_self=True))
    own = next(hit for hit in found.hits if Path(hit.path).name == "05.png")
    assert not own.identical and sound(found)[own.rank - 1] < 0.9


def test_combined_queries_have_no_match(opened: Index) -> None:
    found = opened.query_combined([1, 2], QuerySpec(k=4))
    assert [hit.match for hit in found.hits] == [None] * 4
    weighted = opened.query_combined([1], QuerySpec(k=4), weights=[2.0])
    assert [hit.match for hit in weighted.hits] == [None] * 4
    with pytest.raises(UsageError, match="min_match: expected a single query image"):
        opened.query_combined([1, 2], QuerySpec(min_match=0.5))


def test_min_match_keeps_what_matches(opened: Index, folder: Path) -> None:
    asked = str(folder / "photos/00.png")
    matches = sound(opened.query(asked, k=N))
    for least in (0.0, 0.1, 0.9, 1.0):
        found = opened.query(asked, spec=QuerySpec(k=N, min_match=least))
        assert sound(found) == [match for match in matches if match >= least]
        assert found.nearest is not None and found.nearest.identical and not found.no_match


def test_nothing_matches(opened: Index) -> None:
    found = opened.query(np.asarray(picture(300)), spec=QuerySpec(k=3, min_match=0.99))
    assert found.no_match and found.hits == () and found.nearest is not None
    assert found.nearest.rank == 1 and found.nearest.match is not None
    assert found.nearest.match < 0.99
    filtered = QuerySpec(min_match=0.5, where=("label=none",))
    nothing = opened.query(np.asarray(picture(300)), spec=filtered)
    assert nothing.no_match and nothing.nearest is None


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_min_match_is_a_probability(value: float) -> None:
    with pytest.raises(UsageError, match="min_match"):
        QuerySpec(min_match=value)


def test_an_index_that_is_not_calibrated(plain: Index) -> None:
    assert [hit.match for hit in plain.query(1).hits] == [None] * 4 and plain.calibration() is None
    with pytest.raises(UsageError, match="are not calibrated yet, for which it takes 40"):
        plain.query(1, spec=QuerySpec(min_match=0.5))


def test_a_calibration_that_cannot_be_read_is_a_note(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "index", tmp_path / "index")
    with CatalogWriter(str(tmp_path / "index")) as catalog, catalog.writing():
        live = catalog.generation()
        assert live is not None
        catalog.set_calibration(live.id, b"torn")
    with Index(str(tmp_path / "index"), GridEmbedder()) as index:
        found = index.query(1, k=3)
        index.query(2, k=3)
        assert [hit.match for hit in found.hits] == [None] * 3
        assert len(index.notes) == 1 and "calibration cannot be read" in index.notes[0]


def test_a_gallery_that_shrank_is_still_judged(folder: Path, tmp_path: Path) -> None:
    """With fewer than ten left there is no background; the cap takes its place."""
    shutil.copytree(folder / "index", tmp_path / "index")
    with CatalogWriter(str(tmp_path / "index")) as catalog, catalog.writing() as seq:
        catalog.remove_files(seq, catalog.ids()[3:].tolist())
    with Index(str(tmp_path / "index"), GridEmbedder()) as index:
        assert len(index) == 3
        edited = ImageEnhance.Brightness(picture(1)).enhance(0.95)
        found = index.query(edited, k=3)
        assert Path(found.hits[0].path).name == "01.png" and sound(found)[0] > 0.5
        assert sound(index.query(np.asarray(picture(300)), k=3))[0] < 0.5


def test_a_picture_without_colour_is_no_trouble(opened: Index) -> None:
    sound(opened.query(Image.new("RGB", (40, 30)), k=20))


def test_what_is_kept_between_queries_is_bounded_and_changes_nothing(
    opened: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [sound(opened.query(i, k=20)) for i in range(1, 30)]
    monkeypatch.setattr("cbir.query.matching._KEPT", 70)
    with Index(str(folder / "index"), GridEmbedder()) as fresh:
        assert [sound(fresh.query(i, k=20)) for i in range(1, 30)] == before
        assert fresh._state is not None and 0 < len(fresh._state.spaced) <= 70


def test_matches_are_those_of_plain_numpy(opened: Index) -> None:
    """Through SQL, FAISS, one search or two, and what is kept: what the definition says."""
    made = opened.calibration()
    assert made is not None
    all_ids = sorted(ids(Path(opened.path)).values())
    rows = opened.stored_features(all_ids).astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = rows - made.space.mean
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for query in (3, 17, 40):
        place = all_ids.index(query)
        order = [i for i in np.argsort(-(unit @ unit[place]), kind="stable") if i != place]
        cosines = centred[order] @ centred[place]
        level = min(sorted(cosines[:50], reverse=True)[9], made.cap)
        plain = np.interp(cosines[:50] - level, made.standings, made.matches)
        places = np.arange(len(plain))
        falling = IsotonicRegression(increasing=False).fit_transform(places, plain)[:5]
        for spec in (QuerySpec(k=5), QuerySpec(k=5, where=("path~*",))):
            found = opened.query(query, spec=spec)
            assert [hit.id for hit in found.hits] == [all_ids[i] for i in order[:5]]
            assert sound(found) == pytest.approx(falling.tolist(), abs=1e-4)


def test_a_feature_that_is_missing_costs_the_match_only(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "index", tmp_path / "index")
    with Index(str(tmp_path / "index"), GridEmbedder()) as index:
        nearest = index.query(1, k=3).hits
    with CatalogWriter(str(tmp_path / "index")) as catalog, catalog.writing():
        catalog.drop_features(1, [nearest[2].id])
    with Index(str(tmp_path / "index"), GridEmbedder()) as index:
        assert [hit.match for hit in index.query(1, k=3).hits] == [None] * 3
        assert sound(index.query(1, k=2))


def test_a_match_does_not_depend_on_how_many_hits_are_asked_for(opened: Index) -> None:
    for image in range(1, 30):
        edited = np.asarray(picture(image))[4:]
        whole = sound(opened.query(edited, k=40))
        for k in (1, 2, 5):
            assert sound(opened.query(edited, k=k)) == whole[:k]
        lowest = opened.query(edited, k=40).hits[9].score
        cut = opened.query(edited, spec=QuerySpec(k=40, min_score=lowest))
        assert sound(cut) == whole[: len(cut.hits)] and len(cut.hits) >= 10
