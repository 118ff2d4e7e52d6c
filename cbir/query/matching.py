"""The hits of a query with their match, and which of them match well enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cbir.catalog import Catalog
from cbir.config import QuerySpec
from cbir.errors import UsageError
from cbir.query.examples import Example
from cbir.query.match import NEAREST
from cbir.query.state import State, features_of
from cbir.types import Hit, Ids, Vectors

_KEPT = 16_384
"""Vectors that are kept from query to query, at most: 32 MB of 512 dims."""


def nearest_ids(state: State, example: Example, vector: Vectors) -> Ids:
    """What is near an example, itself left out, int64 (m,): of the whole gallery, unfiltered.

    vector float32 (1, d) is the example's embedding.
    """
    own = None if example.own is None else np.array([example.own], np.int64)
    _, found = state.live.search(vector, NEAREST, None, own)
    return np.asarray(found[0], np.int64)


def matched(
    catalog: Catalog,
    state: State,
    example: Example,
    found: tuple[Ids, Ids],
    hits: tuple[Hit, ...],
) -> tuple[Hit, ...]:
    """The hits with their match, within a read transaction; as they are where none is calibrated.

    found: the whole ranking int64 (n,), of which `hits` are the beginning, and what `nearest_ids`
    finds, int64 (m,); -1 where there are no more. The matches are those of the whole ranking, so
    that they do not depend on how many hits are asked for.
    """
    if state.calibration is None or state.embedder is None or not hits:
        return hits
    ranked, around = (ids[ids >= 0].tolist() for ids in found)
    spaced = _spaced(catalog, state, {*around, *ranked})
    if any(hit.id not in spaced for hit in hits):
        return hits  # damaged: `cbir check` finds features that are missing
    ranked = [image for image in ranked if image in spaced]
    asked = state.calibration.space.apply(example.feature)[0]
    matches = state.calibration.of_ranking(
        asked,
        np.stack([spaced[image] for image in ranked]),
        np.array([spaced[i] for i in around if i in spaced], np.float32).reshape(-1, len(asked)),
        [hit.identical for hit in hits] + [False] * (len(ranked) - len(hits)),
    )
    return tuple(replace(hit, match=m) for hit, m in zip(hits, matches, strict=False))


def _spaced(catalog: Catalog, state: State, ids: set[int]) -> dict[int, Vectors]:
    """Image id → its vector in the calibration's space, float32 (d,); those known are kept."""
    assert state.calibration is not None and state.embedder is not None
    if len(state.spaced) + len(ids) > _KEPT:
        state.spaced.clear()
    missing = sorted(ids - state.spaced.keys())
    stored = features_of(catalog, state.embedder, missing) if missing else {}
    if stored:
        vectors = state.calibration.space.apply(np.stack(list(stored.values())))
        state.spaced.update(zip(stored, vectors, strict=True))
    return state.spaced


def kept(hits: tuple[Hit, ...], state: State, spec: QuerySpec, alone: bool) -> tuple[Hit, ...]:
    """The hits whose match is as high as was asked for; `alone`: one query image, not several.

    Raises UsageError where a match was asked for and there can be none.
    """
    if spec.min_match is None:
        return hits
    if not alone:
        raise UsageError(
            "min_match: expected a single query image, since a match says whether two pictures "
            "show the same thing; received several. Use min_score with combined queries."
        )
    if state.calibration is None:
        raise UsageError(
            "min_match: the scores of this index are not calibrated yet, for which it takes 40 "
            "different pictures whose files are there. Run `cbir index`, or use min_score."
        )
    least = spec.min_match
    return tuple(hit for hit in hits if hit.match is not None and hit.match >= least)
