"""All index kinds by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbir.index.flat import Flat
from cbir.index.hnsw import Hnsw
from cbir.index.ivf import Ivf
from cbir.index.kind import Kind
from cbir.index.pq import Pq

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (Flat(), Hnsw(), Ivf(), Pq())}


def kind_of(index: Any) -> Kind:
    """The kind of a FAISS index that was read; ValueError where it is none of ours."""
    for kind in KINDS.values():
        if kind.holds(index):
            return kind
    raise ValueError(
        f"expected an index of the kinds {', '.join(KINDS)}, received {type(index).__name__}"
    )
