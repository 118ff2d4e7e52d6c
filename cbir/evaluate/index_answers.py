"""Asking an index the queries of a protocol: its own search makes the rankings.

Every query asks `Index.search` for the whole gallery, so what is measured is what `cbir query`
answers: the live generation's projection, the index's kind, its order of equal scores.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import numpy as np

from cbir.config import EmbedderSpec, IndexSpec
from cbir.evaluate.answers import SCORE_BINS, Answer, Answers, Pictures, score_counts
from cbir.evaluate.index_protocol import IndexTruth
from cbir.evaluate.protocol import answer_of
from cbir.evaluate.run import system_name
from cbir.query import Index
from cbir.query.state import read_projection
from cbir.types import Ids, Vectors

SCORES = 1 << 22
"""Scores that are held at a time: so many, by the gallery's size, are the queries of a block."""


def answered_by(
    index: Index, found: IndexTruth, advance: Callable[[int], None] = lambda _: None
) -> Answers:
    """Ask the index all queries; raw answers, as `protocol.rank` gives them.

    An index that does not return every image (an approximate one) leaves relevant images without a
    rank.
    """
    start = time.perf_counter()
    every = index.catalog.ids()
    # One image that is never there makes FAISS compare query by query, as it does for one query:
    # its block-wise products differ in the last digits, and so in the order of copies.
    hidden = np.union1d(np.setdiff1d(every, found.ids), [-1])
    made: list[Answer] = []
    irrelevant: Ids = np.zeros(SCORE_BINS, np.int64)
    step = max(1, SCORES // len(every))
    for first in range(0, len(found.features), step):
        block = found.features[first : first + step]
        scores, ids = index.search(block, len(every), hidden, found.embedder)
        for query, row, images in zip(
            found.truth.queries[first : first + step], scores, ids, strict=True
        ):
            order, left = _places(found.ids, query.own, images, row)
            made.append(answer_of(found.truth, query, order, left))
            irrelevant += score_counts(left[~np.isin(order, query.relevant)])
        advance(len(block))
    named = [i for a in made for i in (a.image, a.first, *a.hits) if i is not None]
    system, about = _about(index, found, time.perf_counter() - start)
    return Answers(
        found.truth.name, system, len(found.ids), tuple(made), about,
        irrelevant.tolist(), Pictures.of(found.truth, named),
    )  # fmt: skip


def _places(gallery: Ids, own: int | None, ids: Ids, scores: Vectors) -> tuple[Ids, Vectors]:
    """Places in the gallery and scores of the images that were found, without the query itself."""
    places = np.minimum(np.searchsorted(gallery, ids), len(gallery) - 1)
    keep = gallery[places] == ids
    if own is not None:
        keep &= places != own
    return places[keep], scores[keep]


def _about(index: Index, found: IndexTruth, seconds: float) -> tuple[str, dict[str, object]]:
    """The system's name, and what the answers were made with."""
    row, generation = index.embedder_row(), index.generation()
    embedder = EmbedderSpec.from_dict(json.loads(row.spec))
    spec = IndexSpec.from_dict(json.loads(generation.spec))
    return system_name(embedder.backbone, spec, generation.fitted > 0), {
        "embedder": embedder.to_dict(), "fingerprint": row.fingerprint,
        "index": os.path.basename(index.path), "generation": generation.id,
        "labels": found.labels, "index_spec": spec.to_dict(),
        "dims": read_projection(generation, row).dims, "fitted": generation.fitted,
        "failures": len(found.failures), "embedded": found.embedded,
        "ranking_s": round(seconds, 3),
    }  # fmt: skip
