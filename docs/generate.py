"""Write docs/cli.md from the commands' own help; `--check` fails where it is not in step.

python docs/generate.py [--check]
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from cbir.cli import cli

TARGET = Path(__file__).with_name("cli.md")
HEAD = """# Command line
Generated from the commands' own help by `make docs`; a test holds it in step.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD, _section("cbir", cli)]
    for name, command in sorted(cli.commands.items()):
        parts.append(_section(f"cbir {name}", command))
        if isinstance(command, click.Group):
            inner = sorted(command.commands.items())
            parts += [_section(f"cbir {name} {below}", one) for below, one in inner]
    return "\n".join(parts)


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, terminal_width=96, max_content_width=96)
    return f"## {name}\n```\n{command.get_help(context)}\n```\n"


def main() -> int:
    """Write, or compare."""
    wanted = render()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(wanted, encoding="utf-8")
        return 0
    found = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    if found == wanted:
        return 0
    lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), "docs/cli.md", "now", "")
    sys.stderr.write("\n".join(lines) + "\ndocs/cli.md is not in step: run `make docs`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
