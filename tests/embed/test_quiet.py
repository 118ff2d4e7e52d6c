"""TensorFlow's notes are held back; everything else on stderr is not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

USE = """
import numpy as np
from cbir import Embedder
made = Embedder.load("efficientnet-lite0")
made.features(np.zeros((1, 224, 224, 3), np.uint8))
"""
SAY = """
import os, sys
from cbir.embed.quiet import quiet
with quiet():
    os.write(2, b"I0000 00:00 port.cc:153] a note\\n")
    with quiet():
        os.write(2, b"from C\\n")
    sys.stderr.write("from Python\\n")
    os.write(2, b"last words without an end")
os.write(2, b"\\nafterwards\\n")
"""


def stderr_of(code: str, **environment: str) -> str:
    plain = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=True,
        env={**plain, **environment}, timeout=200,
    )  # fmt: skip
    return done.stderr


def test_an_embedder_says_nothing() -> None:
    assert stderr_of(USE) == ""


def test_everything_else_is_said() -> None:
    said = stderr_of(SAY)
    assert said == "from Python\nfrom C\nlast words without an end\nafterwards\n"
    assert "a note" in stderr_of(SAY, TF_CPP_MIN_LOG_LEVEL="0")


def test_python_is_not_held_back() -> None:
    """The progress of a download is seen while it goes on, and loggers made inside go on too."""
    code = """
import logging, os, sys
from cbir.embed.quiet import quiet
own = sys.stderr
with quiet():
    handler = logging.StreamHandler(sys.stderr)
    os.write(2, b"from C\\n")
    print("50 %", file=sys.stderr, end="")
    assert sys.stderr.fileno() == 2
assert sys.stderr is own
logging.getLogger().addHandler(handler)
logging.getLogger().warning("later")
"""
    assert stderr_of(code) == "50 %from C\nlater\n"


@pytest.mark.parametrize(
    "before",
    ["sys.stderr = None", "import io; sys.stderr = io.StringIO()", "sys.stderr.close()",
     "os.close(2)", "import tempfile; tempfile.tempdir = '/dev/null/none'",
     "import tempfile; tempfile.TemporaryFile = lambda: open('/dev/null/none')"],
)  # fmt: skip
def test_where_nothing_can_be_held_back_it_goes_on(before: str) -> None:
    code = f"""
import os, sys
from cbir.embed.quiet import quiet, _depth
{before}
for _ in range(2):
    with quiet():
        sys.stdout.write("ran ")
assert not _depth
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ran ran "


def test_descriptors_are_given_back() -> None:
    from cbir.embed.quiet import quiet

    def opened() -> int:
        for number in range(3, 4096):
            try:
                os.fstat(number)
            except OSError:
                return number
        raise AssertionError

    before = opened()
    for _ in range(3):
        with quiet():
            pass
    assert opened() == before


def test_an_error_inside_comes_out(capfd: pytest.CaptureFixture[str]) -> None:
    from cbir.embed.quiet import quiet

    with pytest.raises(RuntimeError), quiet():
        os.write(2, b"said before\n")
        raise RuntimeError
    assert capfd.readouterr().err == "said before\n"
