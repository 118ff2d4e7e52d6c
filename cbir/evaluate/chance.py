"""What a random ranking gets: the line below which a system has learnt nothing."""

from __future__ import annotations

import math

from cbir.evaluate.ground_truth import Query, Truth
from cbir.evaluate.metrics import mean


def chance(truth: Truth) -> dict[str, float]:
    """Expected recall@1, @5, @10, mAP and MAP@R of random rankings; means over the queries.

    With n images of which R are relevant, all orders alike: a given place is relevant with R/n, and
    two given places with R(R-1)/(n(n-1)). Average precision is then a sum over places; for mAP see
    Bestgen, Exact expected average precision of the random baseline (2015). NaN where no query has
    a relevant image.
    """
    sizes = [(_pool(truth, query), len(query.relevant)) for query in truth.queries]
    known = [(n, r) for n, r in sizes if r]
    found = {f"recall@{k}": mean(_hit(n, r, k) for n, r in known) for k in (1, 5, 10)}
    found["mAP"] = mean(_precision(n, r, n) for n, r in known)
    found["MAP@R"] = mean(_precision(n, r, r) for n, r in known)
    return found


def _pool(truth: Truth, query: Query) -> int:
    """How many images are ranked for a query."""
    return len(truth.gallery) - len(query.junk) - (query.own is not None)


def _hit(n: int, r: int, k: int) -> float:
    """Probability that one of the first k places is relevant."""
    return 1 - math.comb(n - r, k) / math.comb(n, k) if k <= n else 1.0


def _precision(n: int, r: int, places: int) -> float:
    """Expected average precision over the first `places`, divided by r."""
    harmonic = sum(1 / k for k in range(1, places + 1))
    both = (r - 1) / (n - 1) if n > 1 else 0.0
    return (harmonic + both * (places - harmonic)) / n
