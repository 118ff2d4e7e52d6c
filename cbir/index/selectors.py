"""Which ids a search may find, as FAISS takes it."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from cbir.types import Ids

FEW = 64
"""Ids up to which a small hash beats a map of all ids, one bit each."""


def selector(
    allowed: Ids | None, excluded: Ids | None, keep: list[Any], living: bool = False
) -> Any:
    """A selector of these ids without those, None where all may be found.

    `living`: ids below zero may never be found. Selectors hold no reference to one another: what
    must stay alive during the search is appended to `keep`.
    """
    if allowed is not None:
        wanted = allowed
        if excluded is not None and len(excluded):
            wanted = allowed[np.isin(allowed, excluded, invert=True)]
        return _those(wanted, keep)
    found: Any = None
    if excluded is not None and len(excluded):
        found = faiss.IDSelectorNot(_those(excluded, keep))
        keep.append(found)
    if living:
        alive = faiss.IDSelectorRange(0, np.iinfo(np.int64).max)
        keep.append(alive)
        found = alive if found is None else faiss.IDSelectorAnd(alive, found)
        keep.append(found)
    return found


def _those(ids: Ids, keep: list[Any]) -> Any:
    if len(ids) <= FEW:
        few: Any = faiss.IDSelectorBatch  # its stub lacks what takes arrays
        made = few(np.ascontiguousarray(ids, np.int64))
    else:
        chosen = ids[ids >= 0]
        bits = np.zeros((int(chosen.max(initial=0)) // 8 + 1) * 8, bool)
        bits[chosen] = True
        packed = np.packbits(bits, bitorder="little")
        keep.append(packed)
        many: Any = faiss.IDSelectorBitmap
        made = many(packed)
    keep.append(made)
    return made
