"""Folders → files; files → RGB pictures; pictures → squares; edits; the sample gallery."""

from cbir.images.batches import Batch, LoadOptions, load, prepare
from cbir.images.decode import DecodeOptions, content_hash, decode, from_array, from_pil
from cbir.images.resize import parse_crop, resize
from cbir.images.sample import SampleReport, make_sample
from cbir.images.scan import Scan, ScanOptions, scan

__all__ = [
    "Batch",
    "DecodeOptions",
    "LoadOptions",
    "SampleReport",
    "Scan",
    "ScanOptions",
    "content_hash",
    "decode",
    "from_array",
    "from_pil",
    "load",
    "make_sample",
    "parse_crop",
    "prepare",
    "resize",
    "scan",
]
