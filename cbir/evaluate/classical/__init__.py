"""Descriptors from before neural networks: the floor that a CNN has to beat.

One descriptor a file, each an embedder (`cbir.config.FeatureExtractor`) by its name in `CLASSICAL`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cbir.config import FeatureExtractor
from cbir.evaluate.classical.colour import ColourHistogram, colour_histogram
from cbir.evaluate.classical.combined import Combined
from cbir.evaluate.classical.fisher import Mixture, fisher_vector, fit_mixture
from cbir.evaluate.classical.lbp import LbpSpec, LocalBinaryPatterns, lbp
from cbir.evaluate.classical.sift import SiftSpec, dense_sift
from cbir.evaluate.classical.sift_fisher import FisherSpec, SiftFisher


def combined() -> Combined:
    """Colour histogram, local binary patterns and SIFT Fisher vectors."""
    return Combined("classical/combined", (ColourHistogram(), LocalBinaryPatterns(), SiftFisher()))


CLASSICAL: Mapping[str, Callable[[], FeatureExtractor]] = {
    "classical/colour": ColourHistogram,
    "classical/lbp": LocalBinaryPatterns,
    "classical/sift-fv": SiftFisher,
    "classical/combined": combined,
}
"""All classical descriptors by name, as `--embedder` takes them."""

__all__ = [
    "CLASSICAL",
    "ColourHistogram",
    "Combined",
    "FisherSpec",
    "LbpSpec",
    "LocalBinaryPatterns",
    "Mixture",
    "SiftFisher",
    "SiftSpec",
    "colour_histogram",
    "combined",
    "dense_sift",
    "fisher_vector",
    "fit_mixture",
    "lbp",
]
