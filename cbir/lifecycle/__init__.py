"""What keeps an index alive: bringing it up to date, deriving, checking, mending, exporting."""

from cbir.lifecycle.adopt import AdoptOptions, AdoptReport, adopt, forget, roll_back
from cbir.lifecycle.check import CheckReport, Fault, check, repair
from cbir.lifecycle.edit import Removal, export_csv, export_neighbours, export_vectors, info, remove
from cbir.lifecycle.embedders import EmbedderRequest, describe
from cbir.lifecycle.generations import Refreshed, refresh
from cbir.lifecycle.sync import (
    Progress,
    SyncOptions,
    SyncReport,
    build,
    sync,
    writing,
)

__all__ = [
    "AdoptOptions",
    "AdoptReport",
    "CheckReport",
    "EmbedderRequest",
    "Fault",
    "Progress",
    "Refreshed",
    "Removal",
    "SyncOptions",
    "SyncReport",
    "adopt",
    "build",
    "check",
    "describe",
    "export_csv",
    "export_neighbours",
    "export_vectors",
    "forget",
    "info",
    "refresh",
    "remove",
    "repair",
    "roll_back",
    "sync",
    "writing",
]
