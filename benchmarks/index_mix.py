"""An index that changes while it is asked: additions, removals, replacements, queries."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from made_vectors import Filler, stored, vectors

from cbir import Index
from cbir.config import IndexSpec
from cbir.lifecycle import refresh
from cbir.lifecycle.check import check
from cbir.types import Ids, Vectors

K = 10
ADDED, REMOVED, REPLACED, ASKED = 300, 280, 40, 40
BRING_UP = 5
"""Rounds after which the index is brought up to date, as each run of `cbir index` does at its end;
between, searches take the changes from the catalog."""


class Gallery:
    """What should be in the index: rows by id, and which of them are there."""

    def __init__(self, dims: int) -> None:
        self.rows = np.zeros((1, dims), np.float32)
        self.alive = np.zeros(1, bool)

    def put(self, ids: Ids, rows: Vectors) -> None:
        """New or changed rows."""
        need = int(ids.max()) + 1
        if need > len(self.rows):
            size = max(need, len(self.rows) * 5 // 4)
            self.rows = np.concatenate(
                (self.rows, np.zeros((size - len(self.rows), self.rows.shape[1]), np.float32))
            )
            self.alive = np.concatenate((self.alive, np.zeros(size - len(self.alive), bool)))
        self.rows[ids] = stored(rows)
        self.alive[ids] = True

    def some(self, rng: np.random.Generator, count: int) -> Ids:
        """Different ids that are there."""
        return np.sort(rng.choice(np.flatnonzero(self.alive), count, replace=False))

    def exact(self, queries: Vectors) -> tuple[Ids, Vectors]:
        """The ten nearest of each query by comparing everything: ids and scores (q, 10)."""
        scores = queries @ self.rows.T
        scores[:, ~self.alive] = -np.inf
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        return best, np.take_along_axis(scores, best, 1)


def mix(folder: Path, n: int, dims: int, kind: str, minutes: float) -> dict[str, Any]:
    """Change and ask for so many minutes; recall over time, ids lost or back from the dead."""
    spec = IndexSpec(dims=dims, projection="none", kind=kind)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    filler, gallery, rng = (
        Filler(folder / "index", dims, spec),
        Gallery(dims),
        np.random.default_rng(7),
    )
    for at in range(0, n, 8192):
        rows = vectors(min(8192, n - at), dims, 100 + at)
        gallery.put(filler.add(rows), rows)
    made = refresh(filler.writer).made
    assert made is not None
    trouble = {"removed ids found": 0, "new ids not found": 0, "scores off": 0}
    series: list[dict[str, float]] = []
    counts = {"added": 0, "removed": 0, "replaced": 0, "queries": 0, "built or folded": 0}
    start = time.perf_counter()
    with Index.open(folder / "index") as index:
        turn = 0
        while time.perf_counter() - start < 60 * minutes:
            change(filler, gallery, rng, turn, counts)
            turn += 1
            if turn % BRING_UP == 0:
                counts["built or folded"] += int(refresh(filler.writer).written)
            row = ask(index, gallery, rng, vectors(ASKED, dims, 10**6 + turn), trouble)
            counts["queries"] += ASKED + 20
            series.append({"minutes": (time.perf_counter() - start) / 60, **row})
        ids, _ = index.search(gallery.rows[gallery.some(rng, 1)], int(gallery.alive.sum()) + 5)
        del ids
        assert index._state is not None
        live = index._state.live
        inside = np.setdiff1d(live.base.ids(), live.masked)
        inside = np.union1d(inside, live.delta.ids())
        trouble["ids lost"] = len(np.setdiff1d(np.flatnonzero(gallery.alive), inside))
        trouble["ids resurrected"] = len(np.setdiff1d(inside, np.flatnonzero(gallery.alive)))
    refresh(filler.writer)
    filler.writer.close()
    faults = [f.kind for f in check(str(folder / "index")).faults if f.kind.startswith("FAISS")]
    recalls = [row["recall"] for row in series]
    return {
        "kind": made.kind, "target": made.target, "held_out_recall": made.recall, **counts,
        "rounds": len(series), "images_at_end": int(gallery.alive.sum()),
        "recall": {"mean": mean(recalls), "least_of_tenths": min(tenths(recalls))},
        "ms": median(row["ms"] for row in series), "trouble": trouble, "faults": faults,
        "series": thin(series),
    }  # fmt: skip


def change(
    filler: Filler, gallery: Gallery, rng: np.random.Generator, turn: int, counts: dict[str, int]
) -> None:
    """Add, remove, replace."""
    dims = gallery.rows.shape[1]
    rows = vectors(ADDED, dims, 10**7 + turn)
    gallery.put(filler.add(rows), rows)
    gone = gallery.some(rng, REMOVED)
    filler.remove(gone)
    gallery.alive[gone] = False
    other = gallery.some(rng, REPLACED)
    rows = vectors(REPLACED, dims, 10**8 + turn)
    filler.replace(other, rows)
    gallery.put(other, rows)
    for name, number in (("added", ADDED), ("removed", REMOVED), ("replaced", REPLACED)):
        counts[name] += number


def ask(
    index: Index, gallery: Gallery, rng: np.random.Generator, queries: Vectors,
    trouble: dict[str, int],
) -> dict[str, float]:  # fmt: skip
    """New queries against exact search; images that are there ask for themselves."""
    right, exact = gallery.exact(queries)
    times, hits = [], 0
    for query, ids, scores in zip(queries, right, exact, strict=True):
        start = time.perf_counter()
        found_scores, found = index.search(query[None], K)
        times.append(1000 * (time.perf_counter() - start))
        hits += int(np.isin(found[0], ids).sum())
        trouble["removed ids found"] += int((~gallery.alive[found[0]]).sum())
        known = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        trouble["scores off"] += sum(
            abs(known[i] - s) > 1e-5
            for i, s in zip(found[0].tolist(), found_scores[0].tolist(), strict=True) if i in known
        )  # fmt: skip
    there = np.flatnonzero(gallery.alive)
    mine = np.concatenate((there[-10:], gallery.some(rng, 10)))  # the newest, and any
    for image in mine.tolist():
        _, found = index.search(gallery.rows[image][None], K)
        trouble["new ids not found"] += int(image not in found[0])
    return {"recall": hits / (K * len(queries)), "ms": median(times),
            "images": int(gallery.alive.sum())}  # fmt: skip


def tenths(values: list[float]) -> list[float]:
    """Means over tenths of a series."""
    return [float(np.mean(part)) for part in np.array_split(values, min(10, len(values)))]


def thin(series: list[dict[str, float]], most: int = 200) -> list[dict[str, float]]:
    """Means of neighbours, so that there are not more than so many."""
    parts = np.array_split(np.arange(len(series)), min(most, len(series)))
    return [{key: round(float(np.mean([series[i][key] for i in part])), 4) for key in series[0]}
            for part in parts]  # fmt: skip
