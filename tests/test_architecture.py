"""Who may import what, in which direction, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cbir"
# A room may import rooms of a smaller number, and, within a room, itself.
LAYER = {
    "__main__": 90, "cli": 80, "lifecycle": 70, "train": 70, "evaluate": 60, "query": 50,
    "embed": 41, "index": 41, "backbones": 40, "catalog": 40, "present": 40, "images": 30,
    "config": 20, "types": 10, "machine": 5, "errors": 0,
}  # fmt: skip
STRANGERS = {frozenset(pair) for pair in (
    ("lifecycle", "train"), ("embed", "catalog"),
    ("index", "backbones"), ("index", "embed"))}  # fmt: skip
HOMES = {
    "keras": {"backbones", "embed", "train"},
    "tensorflow": {"backbones", "embed", "train"},
    "faiss": {"index"},
    "openvino": {"embed"},
    "nncf": {"embed"},
    "PIL": {"images", "present"},
    "pillow_heif": {"images"},
    "skimage": {"images", "evaluate"},
    "sklearn": {"evaluate", "train"},
    "threadpoolctl": {"evaluate"},
    "matplotlib": {"present"},
    "click": {"cli"},
    "tqdm": {"cli"},
    "jinja2": {"present"},
    "sqlite3": {"catalog", "lifecycle"},
    "filelock": {"index"},
}


def room_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(file: Path) -> list[tuple[str, int, bool]]:
    """Every imported module of a file: its name, line, and whether only type checkers see it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            names = [node.module or ""]
            if node.module == "cbir":
                names = [f"cbir.{alias.name}" for alias in node.names]
        found += [(name, node.lineno, id(node) in hidden) for name in names]
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_is_known() -> None:
    rooms = {room_of(file) for file in FILES} - {"__init__"}
    assert rooms == set(LAYER)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    room = room_of(file)
    for name, line, _ in imports(file):
        top, *rest = name.split(".")
        if top == "cbir" and rest and room != "__init__":
            other = rest[0]
            if other.startswith("__version"):
                continue
            assert other in LAYER, f"{file}:{line} imports {name}"
            allowed = other == room or LAYER[other] < LAYER[room]
            assert allowed, f"{file}:{line}: {room} may not import {name}"
            assert frozenset((room, other)) not in STRANGERS, f"{file}:{line} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(file: Path) -> None:
    for name, line, typing_only in imports(file):
        homes = HOMES.get(name.split(".")[0])
        if homes is not None and not typing_only:
            assert room_of(file) in homes, f"{file}:{line} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 450, f"{file} is too long"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{file}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_everything_public_has_a_docstring(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{file} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{file}:{node.lineno} {node.name}"


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after running some code in a fresh process."""
    script = (
        f"import sys\n{code}\nprint('\\n'.join(sorted(set(m.split('.')[0] for m in sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


HEAVY = {"tensorflow", "keras", "torch", "jax", "skimage", "scipy"}


@pytest.mark.parametrize(
    "code",
    [
        "import cbir",
        "import cbir; cbir.Index; cbir.build; cbir.EmbedderSpec",
        "import cbir.cli",
        "import cbir.images, cbir.present, cbir.catalog, cbir.index, cbir.query, cbir.lifecycle",
        "import cbir.backbones, cbir.embed, cbir.evaluate, cbir.train",
    ],
)
def test_importing_costs_no_network(code: str) -> None:
    assert not loaded_by(code) & HEAVY


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["index", "--help"], 0),
        (["query", "--help"], 0),
        (["nonsense"], 2),
        (["query"], 2),
        (["query", "x.jpg", "-k", "0"], 2),
        (["query", "x.jpg", "--min-score", "3"], 2),
        (["query", "x.jpg", "-i", "no-such-index"], 3),
        (["index", "no-such-folder", "-i", "{index}"], 2),
        (["index", ".", "-i", "{index}", "--embedder", "no-such-net"], 2),
        (["index", ".", "-i", "{index}", "--memory", "much"], 2),
        (["index", ".", "-i", "{index}", "--kind", "tree"], 2),
        (["info", "-i", "no-such-index"], 3),
        (["check", "-i", "no-such-index"], 3),
        (["export", "-i", "no-such-index"], 2),
        (["models"], 0),
        (["backbone", "show", "--help"], 0),
        (["backbone", "show"], 2),
        (["backbone", "show", "no-such-net", "pyproject.toml"], 2),
        (["finetune", "--help"], 0),
        (["finetune", "--losses"], 0),
        (["finetune", ".", "-o", "x", "--loss", "no-such-loss"], 2),
        (["finetune", "-o", "x"], 2),
        (["train", "--help"], 0),
        (["train", "--backbone", "lenet5", "-o", "x"], 2),
        (["train", ".", "--backbone", "no-such-net", "-o", "x"], 2),
        (["index", ".", "-i", "{index}", "--embedder", "lenet5"], 5),
        (["models", "--in", "."], 0),
        (["models", "--measure"], 2),
        (["adopt", "--help"], 0),
        (["adopt"], 2),
        (["adopt", "efficientnet-lite0", "-i", "no-such-index"], 3),
        (["adopt", "no-such-net", "-i", "{index}"], 2),
        (["benchmark", "probe", "--help"], 0),
        (["benchmark", "probe"], 2),
        (["benchmark", "probe", ".", "--head", "tree"], 2),
        (["benchmark", "compare", "--help"], 0),
        (["benchmark", "compare"], 2),
        (["benchmark", "compare", ".", "--embedder", "no-such-net"], 2),
    ],
)
def test_help_and_usage_errors_load_no_network(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    """`{index}` stands for a place where an index could be made."""
    used = [a.format(index=tmp_path / "index") for a in arguments]
    call = f"""
import io, os
from cbir.cli import run
out, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO())
found = run({used!r})
sys.stdout = out
print("code", found)
"""
    loaded = loaded_by(call)
    assert str(code) in loaded and "code" in loaded
    assert not loaded & HEAVY
    if any(word in arguments for word in ("--help", "--version")):
        assert not loaded & {"numpy", "faiss", "PIL"}
