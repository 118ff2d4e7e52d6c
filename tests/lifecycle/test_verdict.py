"""The comparison of two generations, and the rule by which one is better."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cbir.catalog import Catalog
from cbir.config import IndexSpec
from cbir.errors import UsageError
from cbir.evaluate.ground_truth import from_folders
from cbir.evaluate.metrics import paired_difference
from cbir.evaluate.protocol import per_query
from cbir.evaluate.run import measure
from cbir.lifecycle.adopt import _Adoption
from cbir.lifecycle.sync import SyncOptions, sync
from cbir.lifecycle.verdict import Contest, Figure, as_dict, folders_are_classes, judge
from tests.conftest import picture
from tests.lifecycle.galleries import CellEmbedder, classes, moved
from tests.lifecycle.helpers import run


def figures(main: tuple[float, float], first: tuple[float, float] = (-0.1, 0.1)) -> list[Figure]:
    """Figures whose intervals are these."""
    return [
        Figure("MAP@R", 0.4, 0.5, sum(main) / 2, *main),
        Figure("recall@1", 0.4, 0.5, sum(first) / 2, *first),
    ]


@pytest.mark.parametrize(
    ("main", "first", "units", "better", "why"),
    [
        ((0.01, 0.1), (-0.1, 0.1), 20, True, "above 0"),
        ((0.01, 0.1), (0.01, 0.1), 500, True, "above 0"),
        ((0.0, 0.1), (0.01, 0.1), 500, False, "holds 0"),
        ((-0.1, 0.1), (0.01, 0.1), 500, False, "holds 0"),
        ((0.0, 0.0), (0.0, 0.0), 500, False, "holds 0"),
        ((-0.2, -0.1), (0.01, 0.1), 500, False, "is lower"),
        ((0.01, 0.1), (-0.2, -0.1), 500, False, "but recall@1 lower"),
        ((0.01, 0.1), (0.01, 0.1), 19, False, "only 19 queries"),
        ((float("nan"), float("nan")), (float("nan"), float("nan")), 500, False, "holds 0"),
    ],
)
def test_the_rule(
    main: tuple[float, float], first: tuple[float, float], units: int, better: bool, why: str
) -> None:
    found, said = judge(figures(main, first), "MAP@R", units)
    assert found is better and why in said


def test_self_queries_that_tell_nothing_apart() -> None:
    same = [Figure("recall@1", 1.0, 1.0, 0.0, 0.0, 0.0)]
    assert judge(same, "recall@1", 100, self_made=True) == (
        False, "both find the source of every edited picture: that tells nothing apart"
    )  # fmt: skip
    assert "edited pictures" in judge(same, "recall@1", 3, self_made=True)[1]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verdict")
    classes(folder / "photos")
    run(folder / "index", folder / "photos", grid=CellEmbedder(1), calibrate=False)
    return folder


@pytest.fixture
def index(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template / "index", tmp_path / "index")
    return tmp_path / "index"


def test_labels_are_measured_as_the_benchmark_does(index: Path, template: Path) -> None:
    """Leave one out over the folders, in memory, without an index: the same figures."""
    verdict = moved(index, CellEmbedder(4), CellEmbedder(1)).verdict
    assert verdict is not None
    truth = from_folders(str(template / "photos"))
    spec = IndexSpec(projection="none")
    old, new = (per_query(measure(truth, CellEmbedder(c), spec).answers) for c in (1, 4))
    for figure in verdict.figures:
        first, second = old[figure.metric], new[figure.metric]
        assert figure.old == pytest.approx(sum(first) / 48, abs=1e-6)
        assert figure.new == pytest.approx(sum(second) / 48, abs=1e-6)
        assert figure.difference == pytest.approx(paired_difference(first, second)[0], abs=1e-6)
    told = as_dict(verdict)
    assert told["better"] and told["metrics"]["mAP"]["interval"][0] > 0
    assert told["labels"] == "parent folder" and told["queries"] == 48


def test_self_queries_are_the_same_for_both(index: Path) -> None:
    """Asked the other way round, the same figures come with the other sign."""
    contest = Contest(label_free=True, sample=24)
    there = moved(index, CellEmbedder(8), CellEmbedder(1), contest=contest)
    verdict = there.verdict
    assert there.swapped and verdict is not None and verdict.better
    assert (verdict.labels, verdict.units, verdict.gallery) == ("", 24, 48)
    assert verdict.queries > 24 * 10 and verdict.queries % 24 == 0
    assert [f.metric for f in verdict.figures] == ["recall@1", "recall@10", "MRR@10"]
    twin = CellEmbedder(1)
    twin.fingerprint = "e" * 32
    back = moved(index, twin, CellEmbedder(8), contest=contest).verdict
    assert back is not None and not back.better
    for one, other in zip(verdict.figures, back.figures, strict=True):
        assert (one.old, one.new) == (other.new, other.old)
        assert one.difference == pytest.approx(-other.difference)


def test_a_manifest_asks_both(index: Path, template: Path, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))
    classes(tmp_path / "asked", each=5)  # the same classes
    table = tmp_path / "asked" / "queries.csv"
    rows = [f"class{c}/{i}.png,class{c},{i}" for c in range(6) for i in range(5)]
    table.write_text("path,label,number\n" + "\n".join(rows) + "\n")
    contest = Contest(manifest=str(table), query_where=("number>=1",))
    verdict = moved(index, CellEmbedder(4), CellEmbedder(1), contest=contest).verdict
    assert verdict is not None and verdict.queries == 24 and verdict.gallery == 48
    bad = Contest(manifest=str(table), query_where=("colour=red",))
    with pytest.raises(UsageError, match="where"):
        moved(index, CellEmbedder(8), CellEmbedder(1), CellEmbedder(4), contest=bad)


def test_a_sample_of_queries(index: Path) -> None:
    contest = Contest(sample=21)
    verdict = moved(index, CellEmbedder(4), CellEmbedder(1), contest=contest).verdict
    assert verdict is not None and verdict.queries == 21 and verdict.gallery == 48


class Taught(CellEmbedder):
    """One that learned from some pictures."""

    def __init__(self, cells: int, learned: frozenset[bytes]) -> None:
        super().__init__(cells)
        self.learned = learned


def contents(index: Path, *folders: str) -> frozenset[bytes]:
    with Catalog(str(index)) as catalog:
        return frozenset(r.content for r in catalog.rows() if r.path.split("/")[0] in folders)


def test_pictures_that_were_learned_from_do_not_ask(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = contents(index, "class0", "class1")
    assert len(learned) == 16
    monkeypatch.setattr("cbir.lifecycle.verdict.FRESH", 32)
    verdict = moved(index, Taught(4, learned), CellEmbedder(1)).verdict
    assert verdict is not None
    assert (verdict.queries, verdict.spared, verdict.learned, verdict.gallery) == (32, 16, 0, 48)
    assert as_dict(verdict)["spared"] == 16


def test_where_too_few_are_left_all_ask_and_that_is_said(index: Path) -> None:
    learned = contents(index, "class0", "class1")  # 32 others: fewer than 50
    verdict = moved(index, Taught(4, learned), CellEmbedder(1)).verdict
    assert verdict is not None
    assert (verdict.queries, verdict.spared, verdict.learned) == (48, 0, 16)


def test_others_without_a_label_are_not_enough(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbir.lifecycle.verdict.FRESH", 8)
    with Catalog(str(index)) as catalog:
        rows = [f"{r.file},{r.path[:6]}" for r in catalog.rows() if r.path.startswith("class0/")]
        rows += [f"{r.file},{r.path[:6]}" for r in catalog.rows() if r.path.startswith("class1/")]
    (tmp_path / "m.csv").write_text("path,kind\n" + "\n".join(rows) + "\n")
    sync(str(index), [], SyncOptions(metadata=str(tmp_path / "m.csv"), calibrate=False),
         embedder=CellEmbedder(1))  # fmt: skip
    learned = contents(index, "class0", "class1")
    report = moved(index, Taught(4, learned), CellEmbedder(1), contest=Contest(labels="kind"),
                   force=True)  # fmt: skip
    assert report.verdict is not None and report.verdict.queries == 16
    assert (report.verdict.learned, report.verdict.spared) == (16, 0)


def test_who_chose_the_queries_gets_them(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbir.lifecycle.verdict.FRESH", 8)
    learned = contents(index, "class0", "class1")
    contest = Contest(query_where=("path~class[0-3]*",))
    verdict = moved(index, Taught(4, learned), CellEmbedder(1), contest=contest).verdict
    assert verdict is not None
    assert (verdict.queries, verdict.learned, verdict.spared) == (32, 16, 0)


def test_pictures_of_a_manifest_that_were_learned_from_are_counted(
    index: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))
    table = template / "photos" / "queries.csv"
    rows = [f"class{c}/{i}.png,class{c}" for c in range(3) for i in range(8)]
    table.write_text("path,label\n" + "\n".join(rows) + "\n")
    learned = contents(index, "class0", "class5")
    contest = Contest(manifest=str(table))
    verdict = moved(index, Taught(4, learned), CellEmbedder(1), contest=contest).verdict
    table.unlink()
    assert verdict is not None and (verdict.queries, verdict.learned) == (24, 8)


def test_only_the_gallery_that_is_asked_counts(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbir.lifecycle.verdict.FRESH", 16)
    learned = contents(index, "class0", "class1", "class2")
    contest = Contest(gallery_where=("path~class[2-5]*",))
    verdict = moved(index, Taught(4, learned), CellEmbedder(1), contest=contest).verdict
    assert verdict is not None
    assert (verdict.queries, verdict.spared, verdict.gallery) == (24, 8, 32)


def test_what_the_live_one_learned_from_does_not_ask_either(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Adoption, "_live_learned", lambda _: contents(index, "class5"))
    monkeypatch.setattr("cbir.lifecycle.verdict.FRESH", 40)
    verdict = moved(index, CellEmbedder(4), CellEmbedder(1)).verdict
    assert verdict is not None and (verdict.queries, verdict.spared) == (40, 8)
    monkeypatch.setattr("cbir.lifecycle.verdict.FRESH", 41)
    again = moved(index, CellEmbedder(8), CellEmbedder(4)).verdict
    assert again is not None and (again.queries, again.learned_old, again.spared) == (48, 8, 0)


def test_edited_copies_of_what_was_learned_from_are_counted(index: Path) -> None:
    contest = Contest(label_free=True, sample=48)
    learned = contents(index, "class0")
    verdict = moved(index, Taught(8, learned), CellEmbedder(1), contest=contest).verdict
    assert verdict is not None and (verdict.units, verdict.learned) == (48, 8)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [({"a": 3, "b": 3, "c": 3}, True), ({"a": 3, "b": 3}, False), ({"": 9}, False),
     ({"a": 8, "b": 1, "c": 1}, False), ({"a": 1, "b": 1, "c": 1, "d": 1}, False),
     ({"": 9, "a": 2, "b": 2, "c": 2}, False), ({"": 3, "a": 2, "b": 2, "c": 2}, True)],
)  # fmt: skip
def test_folders_that_look_like_classes(
    folders: dict[str, int], expected: bool, tmp_path: Path
) -> None:
    seed = 0
    for name, size in folders.items():
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        for i in range(size):
            seed += 1
            picture(seed).save(tmp_path / "photos" / name / f"{i}.png")
    run(tmp_path / "index", tmp_path / "photos", grid=CellEmbedder(1), calibrate=False)
    with Catalog(str(tmp_path / "index")) as catalog:
        assert folders_are_classes(catalog) is expected
