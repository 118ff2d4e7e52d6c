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
from cbir.types import Hit, Vectors


def matched(
    catalog: Catalog, state: State, example: Example, vector: Vectors, hits: tuple[Hit, ...]
) -> tuple[Hit, ...]:
    """The hits with their match, within a read transaction; as they are where none is calibrated.

    vector float32 (1, d) is the example's embedding. What is near it is asked of the whole gallery,
    whatever the filters of the query are.
    """
    if state.calibration is None or state.embedder is None or not hits:
        return hits
    own = None if example.own is None else np.array([example.own], np.int64)
    _, found = state.live.search(vector, NEAREST, None, own)
    near = [int(i) for i in found[0] if i >= 0]
    listed = [hit.id for hit in hits]
    stored = features_of(catalog, state.embedder, [*near, *listed])
    matches = state.calibration.of_ranking(
        example.feature,
        np.stack([stored[i] for i in listed]),
        np.stack([stored[i] for i in near]) if near else np.empty_like(example.feature[:0]),
        [hit.identical for hit in hits],
    )
    return tuple(replace(hit, match=m) for hit, m in zip(hits, matches, strict=True))


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
