"""A small gallery on disk, and rankings over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cbir.types import Hit, Ranking
from tests.present.browser import start

ODD_NAMES = (
    "<img src=x onerror=alert(1)>.jpg",
    "\" onmouseover='alert(1)'.jpg",
    "{{ 7 * 7 }}&amp;.jpg",
    "日本語の写真 %41#?.jpg",
    "line\nbreak\x1b[31m\u202egpj.jpg",
    "a" * 200 + ".jpg",
)


@dataclass(frozen=True)
class Gallery:
    """Twelve pictures, the files with odd names, a broken one and the name of one that is gone."""

    folder: Path
    pictures: tuple[str, ...]
    odd: tuple[str, ...]
    broken: str
    gone: str

    @property
    def everything(self) -> tuple[str, ...]:
        return (*self.pictures, *self.odd, self.broken, self.gone)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    folder = tmp_path_factory.mktemp("gallery")
    random = np.random.default_rng(0)
    pictures = []
    for number in range(12):
        width, height = (int(side) for side in random.integers(20, 700, 2))
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        file = folder / f"picture-{number:02}.jpg"
        Image.new("RGB", (width, height), color).save(file)
        pictures.append(str(file))
    odd = []
    for name in ODD_NAMES:
        file = folder / name
        Image.new("RGB", (120, 80), (90, 120, 40)).save(file)
        odd.append(str(file))
    broken = folder / "broken.jpg"
    broken.write_bytes(b"this is no picture")
    return Gallery(folder, tuple(pictures), tuple(odd), str(broken), str(folder / "gone.jpg"))


def make_ranking(
    query: str,
    paths: tuple[str, ...],
    files: tuple[str, ...] = (),
    match: bool = True,
    metadata: dict[str, str] | None = None,
) -> Ranking:
    """A ranking with falling scores; its first hit is identical, every third has no match."""
    hits = tuple(
        Hit(
            rank=i + 1,
            id=100 + i,
            path=path,
            score=1.0 - i / 16,
            match=1.0 - i / 20 if match and i % 3 != 2 else None,
            identical=i == 0,
            metadata=metadata or {},
        )
        for i, path in enumerate(paths)
    )
    return Ranking(query, hits, "index_data/default", 12.345, files)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One headless browser for all pages."""
    driver = start(str(tmp_path_factory.mktemp("profile")))
    try:
        yield driver
    finally:
        driver.quit()
