"""Queries go on while a writer adds, removes and fits anew: always one consistent state."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cbir.config import IndexSpec
from cbir.query import Index
from tests.conftest import GridEmbedder
from tests.lifecycle.helpers import run

ROUNDS = 12


def test_readers_see_one_state_after_another(
    photos: Path, tmp_path: Path, draw: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbir.lifecycle.generations.FIT_AT", 10)
    index = tmp_path / "index"
    run(index, photos, grid=GridEmbedder(), spec=IndexSpec(dims=6))
    query = str(draw("query.png", 3, "elsewhere"))
    done = threading.Event()
    problems: list[BaseException] = []
    sizes: set[int] = set()

    def read() -> None:
        try:
            with Index(str(index), GridEmbedder()) as opened:
                while not done.is_set():
                    hits = opened.query(query, k=50).hits
                    sizes.add(len(hits))
                    assert len({h.id for h in hits}) == len(hits)
                    assert hits[0].identical and hits[0].score > 0.999
                    assert all(-1 <= h.score <= 1 for h in hits)
                    assert opened.notes == []
        except BaseException as error:
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for i in range(ROUNDS):
            for j in range(3):
                draw(f"more/{i}-{j}.png", 100 + 3 * i + j)
            if i % 3 == 2:
                os.remove(photos / "more" / f"{i - 1}-0.png")
            run(index, photos, grid=GridEmbedder(), refit=i % 4 == 3, batch_size=2)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not problems, problems[0]
    assert len(sizes) > 3 and max(sizes) <= 12 + 3 * ROUNDS
