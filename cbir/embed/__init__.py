"""The embedder (pictures → features) and the projection (features → embeddings).

Importing this room costs no Keras: it is imported when an embedder is loaded.
"""

from cbir.embed.embedder import Embedder, fingerprint, resolve_spec
from cbir.embed.projection import Projection, fit, fit_gallery, sample_rows

__all__ = [
    "Embedder",
    "Projection",
    "fingerprint",
    "fit",
    "fit_gallery",
    "resolve_spec",
    "sample_rows",
]
