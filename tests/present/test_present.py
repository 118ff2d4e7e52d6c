"""The room as a whole: its public names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

from cbir import present


def test_public_names() -> None:
    assert present.__all__ == sorted(present.__all__)
    for name in present.__all__:
        assert getattr(present, name).__module__.startswith("cbir.present.")


def test_importing_it_is_light() -> None:
    code = (
        "import sys, cbir.present\n"
        "heavy = {'PIL', 'jinja2', 'keras', 'tensorflow', 'faiss', 'click'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
