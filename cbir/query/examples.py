"""Query images, and the embedder that makes features of them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from cbir.catalog import EmbedderRow
from cbir.config import EmbedderSpec, FeatureExtractor
from cbir.errors import IndexIncompatibleError
from cbir.types import Vectors


@dataclass(frozen=True, slots=True)
class Example:
    """A query image: its feature, float32 (1, f), and what is known of where it came from.

    `own` is the id under which the same file (or id) is in the gallery, None where it is not.
    """

    name: str
    feature: Vectors
    content: bytes
    own: int | None = None
    file: str | None = None


def own_embedder(index: str, row: EmbedderRow) -> FeatureExtractor:
    """The embedder that made the features of an index: the saved one, else the stock one.

    Raises IndexIncompatibleError where it is not the one that the fingerprint names.
    """
    from cbir.embed import Embedder

    saved = os.path.join(index, "embedder")
    spec = EmbedderSpec.from_dict(json.loads(row.spec))
    # A stock embedder needs no folder; one that a killed run left there is not this one.
    if spec.carried or (os.path.isdir(saved) and _saved_as(saved) == row.fingerprint):
        embedder = Embedder.load(saved)
    else:
        embedder = Embedder.from_spec(spec)
    if embedder.fingerprint != row.fingerprint:
        raise IndexIncompatibleError(
            f"{index} was made by the embedder {row.fingerprint} ({embedder.spec.backbone}); the "
            f"one of that name here is {embedder.fingerprint}. Its weights differ: install the "
            "former version, or index again with `cbir index FOLDER -i OTHER`."
        )
    return embedder


def _saved_as(folder: str) -> str:
    """The fingerprint that an embedder's folder names, "" where it names none."""
    try:
        with open(os.path.join(folder, "embedder.json"), encoding="utf-8") as file:
            return str(json.load(file)["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
