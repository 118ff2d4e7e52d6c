"""SQLite truth: roots, files, contents, features, failures, labels, metadata, generations."""

from cbir.catalog.cache import FeatureCache, default_cache
from cbir.catalog.catalog import Catalog, catalog_path, sqlite_errors
from cbir.catalog.halves import blob_size, from_blobs, to_blob
from cbir.catalog.records import (
    EmbedderRow,
    FileRow,
    FileState,
    Generation,
    NewContent,
    NewFile,
    Root,
)
from cbir.catalog.schema import FORMAT_VERSION
from cbir.catalog.writer import CatalogWriter, create_catalog, make_folder

__all__ = [
    "Catalog",
    "CatalogWriter",
    "EmbedderRow",
    "FORMAT_VERSION",
    "FeatureCache",
    "FileRow",
    "FileState",
    "Generation",
    "NewContent",
    "NewFile",
    "Root",
    "blob_size",
    "catalog_path",
    "create_catalog",
    "default_cache",
    "from_blobs",
    "make_folder",
    "sqlite_errors",
    "to_blob",
]
