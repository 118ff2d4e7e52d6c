"""The command line as a user meets it: a real sample gallery with the real default embedder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cbir.cli import run


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str
    raw: bytes


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """`command("query", ...)` runs it in this process; stdout and stderr apart."""

    def made(*arguments: object) -> Done:
        capfdbinary.readouterr()
        code = run([str(a) for a in arguments])
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode(), out)

    return made


@dataclass(frozen=True)
class Sample:
    """A sample gallery with its index."""

    photos: Path
    index: Path

    def view(self, photo: str, view: str = "original.jpg") -> Path:
        """One picture."""
        return self.photos / photo / view


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Made once; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("sample")
    made = Sample(folder / "photos", folder / "index")
    assert run(["sample", str(made.photos)]) == 0
    manifest = str(made.photos / "manifest.csv")
    assert run(["index", str(made.photos), "-i", str(made.index), "--metadata", manifest]) == 0
    return made
