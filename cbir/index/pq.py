"""Index kind `pq`: lists as `ivf` has them, vectors of one bit a dimension.

Gao and Long, RaBitQ: Quantizing high-dimensional vectors with a theoretical error bound (SIGMOD
2024). Such codes only preselect: many candidates are taken, and their stored features decide.
"""

from __future__ import annotations

from typing import ClassVar

import faiss

from cbir.index.ivf import Ivf


class Pq(Ivf):
    """`IndexIVFRaBitQ`: at d = 256, 40 bytes a code. The name is what people look for when vectors
    are to take little memory; product quantisation itself gave less recall for as many bytes."""

    name = "pq"
    codes: ClassVar[str] = "RaBitQ"
    made: ClassVar[type] = faiss.IndexIVFRaBitQ
