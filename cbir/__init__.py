"""cbir: index a folder of images, query by example image, benchmark recall.

    import cbir

    with cbir.build("photos", "index_data/photos") as index:
        for hit in index.query("picture.jpg", k=5).hits:
            print(hit.rank, hit.score, hit.path)

Names are resolved on first use, so that `import cbir` costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cbir.config import EmbedderSpec as EmbedderSpec
    from cbir.config import IndexSpec as IndexSpec
    from cbir.config import QuerySpec as QuerySpec
    from cbir.embed import Embedder as Embedder
    from cbir.errors import CbirError as CbirError
    from cbir.errors import EmbedderError as EmbedderError
    from cbir.errors import ImageError as ImageError
    from cbir.errors import IndexDamagedError as IndexDamagedError
    from cbir.errors import IndexIncompatibleError as IndexIncompatibleError
    from cbir.errors import IndexLockedError as IndexLockedError
    from cbir.errors import IndexMissingError as IndexMissingError
    from cbir.errors import OperationFailedError as OperationFailedError
    from cbir.errors import UsageError as UsageError
    from cbir.errors import WeightsError as WeightsError
    from cbir.lifecycle import build as build
    from cbir.query import Index as Index
    from cbir.types import Failure as Failure
    from cbir.types import Hit as Hit
    from cbir.types import Ranking as Ranking

_HOME = {
    "CbirError": "errors",
    "Embedder": "embed",
    "EmbedderError": "errors",
    "EmbedderSpec": "config",
    "Failure": "types",
    "Hit": "types",
    "ImageError": "errors",
    "Index": "query",
    "IndexDamagedError": "errors",
    "IndexIncompatibleError": "errors",
    "IndexLockedError": "errors",
    "IndexMissingError": "errors",
    "IndexSpec": "config",
    "OperationFailedError": "errors",
    "QuerySpec": "config",
    "Ranking": "types",
    "UsageError": "errors",
    "WeightsError": "errors",
    "build": "lifecycle",
}

__all__ = [
    "CbirError",
    "Embedder",
    "EmbedderError",
    "EmbedderSpec",
    "Failure",
    "Hit",
    "ImageError",
    "Index",
    "IndexDamagedError",
    "IndexIncompatibleError",
    "IndexLockedError",
    "IndexMissingError",
    "IndexSpec",
    "OperationFailedError",
    "QuerySpec",
    "Ranking",
    "UsageError",
    "WeightsError",
    "__version__",
    "build",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"cbir.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
