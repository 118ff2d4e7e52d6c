"""When the scores of an index are calibrated: after the work, where the gallery has changed enough.

It takes seconds, as pictures are edited and embedded for it; so it comes last, and a run that is
interrupted there has lost nothing: the next one does it.
"""

from __future__ import annotations

from collections.abc import Callable

from cbir.catalog import CatalogWriter
from cbir.config import FeatureExtractor
from cbir.evaluate.calibrate import LEAST, CalibrationOptions, calibrate
from cbir.evaluate.gallery import of_index
from cbir.lifecycle.generations import GROWTH
from cbir.query import Index
from cbir.query.state import read_calibration

_TRIED = "calibration_tried"
"""Setting: for which generation and how many pictures it could not be done."""


def calibration_due(catalog: CatalogWriter) -> bool:
    """Whether the live generation has no calibration yet, or has grown or shrunk since.

    By a quarter, as for projections.
    """
    live, size = catalog.generation(), catalog.count_contents()
    if live is None or size < LEAST:
        return False
    try:
        found = read_calibration(catalog, live)
    except ValueError:
        return True
    if found is not None:
        return not found.images / GROWTH < size < found.images * GROWTH
    tried = catalog.setting(_TRIED) or {}
    return not (tried.get("generation") == live.id and tried.get("images") == size)


def calibrate_index(
    catalog: CatalogWriter,
    embedder: FeatureExtractor,
    advance: Callable[[int], None] = lambda _: None,
    generation: int | None = None,
) -> bool:
    """Calibrate the live generation, or the one with this id, and store it.

    False where the pictures' files are not there.
    """
    live = catalog.generation(generation)
    assert live is not None
    with Index(catalog.index, embedder, generation=live.id) as index:
        gallery = of_index(index)
        found = calibrate(gallery, CalibrationOptions(), advance=advance)
    with catalog.writing():
        if found is None:
            catalog.set(_TRIED, {"generation": live.id, "images": len(gallery)})
        else:
            catalog.set_calibration(live.id, found.to_bytes())
    return found is not None
