"""The searchable index of one generation: a derived file, newer rows beside it, a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from cbir.index.exact import BLOCK, exact_scores, nearest
from cbir.index.faiss_index import FaissIndex, hit_order, in_order, one_thread, sort_hits
from cbir.index.vectors import VectorFile
from cbir.types import Ids, Vectors

VectorsOf = Callable[[Ids], Vectors]
"""Ids int64 (n,), rising, → their embeddings float32 (n, d) from what is stored; NaN: not there."""

FEW = 200
"""So few allowed images are compared one by one, from their stored features. Of more, all codes are
looked at: 1 ms for 3,000 images where reading the features of 1,000 takes 20."""
SPARSE = 0.25
"""Below this share of allowed images, a graph or lists would be searched mostly in vain: the codes
of all allowed ones are looked at instead."""
CANDIDATES = 1 << 19
"""Candidates that are held at a time, of several queries: bounds memory. Whole blocks of queries
keep all cores busy."""
SEVERAL = 8
"""Queries at once from which on a search that is not exact uses all cores."""
EXACT_SEVERAL = 2
"""The same of an exact one: FAISS gives each query a core, and waits 8 ms for a thread that it does
not need."""
MARGIN = 16
"""Candidates beside the hits, at least: so few that are not among the exact hits can come between
by the errors of codes of a byte."""
FACTOR = 16
"""Candidates per hit of the kind `pq`, where nothing was measured."""


def candidates(k: int, factor: int) -> int:
    """How many candidates are taken for k hits: `factor` for each, and `MARGIN` more at least."""
    return max(factor * k, k + MARGIN)


def _nothing(ids: Ids) -> Vectors:
    raise LookupError("an index that is not exact needs the vectors that its codes stand for")


class LiveIndex:
    """A base that is not changed, a delta that is searched exactly, and a mask.

    `seq` is the catalog's seq up to which all of it is true. Where the base is not exact, it names
    candidates, and their embeddings decide: scores are exact cosines for every kind. They are in
    `file`; without one, or where it turns out to be damaged (`trouble` says so), `vectors_of` makes
    them from what is stored. `factor`: how many candidates are taken for each hit, at least.
    """

    def __init__(
        self,
        base: FaissIndex,
        seq: int,
        vectors_of: VectorsOf = _nothing,
        factor: int = 0,
        file: VectorFile | None = None,
    ) -> None:
        self.base = base
        self.delta = FaissIndex(base.dims)
        self.seq = seq
        self.factor = factor or (FACTOR if base.kind == "pq" else 2)
        self.trouble = ""
        self._stored = vectors_of
        self.file = file
        self._masked: Ids = np.empty(0, np.int64)
        ids = np.sort(base.ids())
        if file is not None and np.array_equal(ids, file.ids):
            ids = file.ids  # one copy of them is enough
        self._base_ids: Ids = ids

    def __len__(self) -> int:
        return len(self.base) - len(self._masked) + len(self.delta)

    @property
    def dims(self) -> int:
        """d."""
        return self.base.dims

    @property
    def pending(self) -> int:
        """Changes that the base does not hold: delta rows and masked rows."""
        return len(self.delta) + len(self._masked)

    @property
    def complete(self) -> bool:
        """Whether a search needs nothing but what is here."""
        return self.base.exact or self.file is not None

    @property
    def masked(self) -> Ids:
        """Ids of the base that are not true any more, int64 (m,)."""
        return self._masked

    def vectors_of(self, ids: Ids) -> Vectors:
        """Embeddings of rising ids of the base, float32 (n, d); NaN where one is not there."""
        if self.file is not None:
            places = self.file.places(ids)
            if self.file.sound_at(places):
                return self.file.vectors_of(ids)
            self._distrust()
        return self._stored(ids)

    def _distrust(self) -> None:
        """The file has a row that no embedding can be: what is stored is used from now on."""
        assert self.file is not None
        self.trouble = f"{self.file.path} is damaged; scored by the stored features instead"
        self.file = None

    def update(self, removed: Ids, ids: Ids, vectors: Vectors, seq: int) -> None:
        """Take in the changes up to `seq`: ids that went, and new or changed rows.

        removed int64 (m,); ids int64 (n,), vectors float32 (n, d).
        """
        stale = np.union1d(removed, ids)
        self.delta.remove(stale)
        in_base = np.intersect1d(stale, self._base_ids, assume_unique=True)
        self._masked = np.union1d(self._masked, in_base)
        self.delta.add(ids, vectors)
        self.seq = seq

    def search(
        self, queries: Vectors, k: int, allowed: Ids | None = None, excluded: Ids | None = None
    ) -> tuple[Vectors, Ids]:
        """See `VectorStore.search`: as many hits as are allowed, up to k, whatever the kind."""
        hidden = self._masked
        if excluded is not None:
            hidden = np.union1d(hidden, excluded)
        # Threads gain nothing for few queries, and wait for each other where others compute.
        few = len(queries) < (EXACT_SEVERAL if self.base.exact else SEVERAL)
        with one_thread() if few else nullcontext():
            if self.base.exact:
                old = self.base.search(queries, k, allowed, hidden)
            else:
                old = self._approximate(queries, k, allowed, hidden)
            if not len(self.delta):
                return old
            new = self.delta.search(queries, k, allowed, excluded)
        scores, ids = sort_hits(
            np.concatenate((old[0], new[0]), axis=1), np.concatenate((old[1], new[1]), axis=1)
        )
        return scores[:, :k], ids[:, :k]

    def _approximate(
        self, queries: Vectors, k: int, allowed: Ids | None, hidden: Ids
    ) -> tuple[Vectors, Ids]:
        """The base's share of a search, where it is not exact.

        Few allowed images are compared one by one; of a small share, all codes are looked at; else
        the graph or the lists name candidates, with more effort the fewer are allowed; where these
        turn out too few, all codes do.
        """
        wanted, left = self._wanted(allowed, hidden)
        k = min(k, left)
        fetch = min(left, candidates(k, self.factor))
        if k == 0 or not len(queries):
            empty = (len(queries), k)
            return np.full(empty, -np.inf, np.float32), np.full(empty, -1, np.int64)
        if left <= FEW or 2 * fetch >= left:
            if wanted is None:
                wanted = self._base_ids[~_among(self._base_ids, hidden)]
            return nearest(queries, k, self._blocks(wanted))
        scale = math.inf if left < SPARSE * len(self.base) else len(self.base) / left
        block = max(16, CANDIDATES // fetch)
        if self.file is None:  # their vectors are held too
            block = min(block, 64)
        parts = [
            self._rescored(queries[at : at + block], k, fetch, (wanted, hidden), scale)
            for at in range(0, len(queries), block)
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _wanted(self, allowed: Ids | None, hidden: Ids) -> tuple[Ids | None, int]:
        """The allowed ids that the base holds (None: all but the hidden ones), and how many."""
        if allowed is None and not len(hidden):
            return None, len(self._base_ids)
        if allowed is None:
            return None, len(self._base_ids) - int(_among(hidden, self._base_ids).sum())
        wanted = np.sort(allowed[_among(allowed, self._base_ids)])
        wanted = wanted[~_among(wanted, hidden)]
        return wanted, len(wanted)

    def _rescored(
        self,
        queries: Vectors,
        k: int,
        fetch: int,
        among: tuple[Ids | None, Ids],
        scale: float,
    ) -> tuple[Vectors, Ids]:
        """Candidates by the base's codes, ordered by the vectors themselves."""
        wanted, hidden = among
        excluded = hidden if wanted is None else None
        _, ids = self.base.candidates(queries, fetch, wanted, excluded, scale)
        short = (ids[:, :k] < 0).any(axis=1)
        if short.any() and not math.isinf(scale):
            _, more = self.base.candidates(queries[short], fetch, wanted, excluded, math.inf)
            ids[short] = more
        if self.file is not None:
            places = self.file.places(ids)
            scores = self.file.scores_at(queries, places)
            broken = bool((np.isnan(scores) & (places >= 0)).any())
            scores, found, places = sorted_hits(scores, ids, places)
            if not broken and self.file.sound_at(places[:, :k]):
                return scores[:, :k], found[:, :k]
            self._distrust()
        known, places = np.unique(ids, return_inverse=True)
        places = places.reshape(ids.shape)
        none = int(np.searchsorted(known, 0))  # -1, where it is there, comes first
        scores = exact_scores(queries, self._stored(known[none:]), places - none)
        scores, found, _ = sorted_hits(scores, ids, places)
        return scores[:, :k], found[:, :k]

    def _blocks(self, ids: Ids) -> list[tuple[Ids, Callable[[], Vectors]]]:
        """Ids in blocks, each with what reads its vectors."""
        return [
            (block, lambda block=block: self.vectors_of(block))  # type: ignore[misc]
            for block in (ids[at : at + BLOCK] for at in range(0, len(ids), BLOCK))
        ]

    def merged(self) -> FaissIndex:
        """Base, delta and mask as one exact index, rows in the order of their ids.

        Of a base that is not exact, the vectors are those that are stored.
        """
        base_ids = self.base.ids()
        kept = np.isin(base_ids, self._masked, invert=True)
        if self.base.exact:
            ids, vectors = base_ids[kept], self.base.vectors()[kept]
        else:
            ids = np.sort(base_ids[kept])
            vectors = self.vectors_of(ids)
        ids = np.concatenate((ids, self.delta.ids()))
        vectors = np.concatenate((vectors, self.delta.vectors()))
        order = np.argsort(ids)
        whole = FaissIndex(self.dims)
        whole.add(ids[order], vectors[order])
        return whole

    def blocks(self) -> Iterator[tuple[Ids, Vectors]] | None:
        """Every id with its embedding as of now, by id, some thousands at a time, without going to
        what is stored; None where no file has them."""
        if self.file is None:
            return None
        return self._merged_blocks(self.file)

    def _merged_blocks(self, file: VectorFile) -> Iterator[tuple[Ids, Vectors]]:
        order = np.argsort(self.delta.ids())
        new, rows = self.delta.ids()[order], self.delta.vectors()[order]
        at = 0
        for ids, vectors in file.blocks():
            kept = ~_among(ids, self._masked)
            until = int(np.searchsorted(new, ids[-1], "right"))
            both = np.concatenate((ids[kept], new[at:until]))
            if not len(both):
                continue
            by_id = np.argsort(both)
            yield both[by_id], np.concatenate((vectors[kept], rows[at:until]))[by_id]
            at = until
        if at < len(new):
            yield new[at:], rows[at:]

    def folded(self) -> FaissIndex:
        """The base itself, changed: what is masked taken out, the delta added. This object is of
        no use afterwards."""
        self.base.remove(self._masked)
        self.base.add(self.delta.ids(), self.delta.vectors())
        return self.base


def sorted_hits(scores: Vectors, ids: Ids, places: Ids) -> tuple[Vectors, Ids, Ids]:
    """Candidates by falling score, with their places; those whose score is NaN are not there."""
    lost = np.isnan(scores)
    if lost.any():
        scores, ids = np.where(lost, -np.inf, scores), np.where(lost, -1, ids)
    scores, ids, places = in_order(hit_order(scores, ids), scores, ids, places)
    return scores, ids, places


def _among(ids: Ids, rising: Ids) -> NDArray[np.bool_]:
    """Which of these ids are among the rising ones: a look-up for few of them, a table for many."""
    if len(ids) * 16 > len(rising):
        return np.isin(ids, rising)
    places = np.minimum(np.searchsorted(rising, ids), len(rising) - 1)
    return np.asarray(rising[places] == ids, bool)
