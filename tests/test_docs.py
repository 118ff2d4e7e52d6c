"""The docs are in step with the commands, and every command is in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cbir.cli import cli

ROOT = Path(__file__).parent.parent


def test_cli_page_is_in_step() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def commands() -> list[click.Command]:
    """All commands, those of groups too."""
    groups = [c for c in cli.commands.values() if isinstance(c, click.Group)]
    return [*cli.commands.values(), *(inner for g in groups for inner in g.commands.values())]


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_and_option_has_help(name: str) -> None:
    command = cli.commands[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"cbir {name}" in readme


def test_every_option_in_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    known = {option for c in commands() for p in c.params for option in p.opts}
    known |= {"--help", "--version"}
    blocks = re.findall(r"^cbir .*$", readme, re.MULTILINE)
    assert blocks
    used = {word for line in blocks for word in re.findall(r"(?<=\s)--?[a-z0][a-z-]*", line)}
    assert used and used <= known, used - known


def test_no_document_names_a_local_path() -> None:
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        assert not re.search(r"/(home|root|Users)/", file.read_text(encoding="utf-8")), file
