"""The embedder (pictures → features) and the projection (features → embeddings).

Importing this room costs no Keras: it is imported when an embedder is loaded.
"""

from cbir.embed.card import ModelCard
from cbir.embed.compiled import CompiledEmbedder, compiled_embedder, compiled_stock
from cbir.embed.embedder import Embedder, fingerprint, resolve_spec
from cbir.embed.package import read_card
from cbir.embed.projection import Projection, fit, fit_gallery, sample_rows

__all__ = [
    "CompiledEmbedder",
    "Embedder",
    "ModelCard",
    "Projection",
    "compiled_embedder",
    "compiled_stock",
    "fingerprint",
    "fit",
    "fit_gallery",
    "read_card",
    "resolve_spec",
    "sample_rows",
]
