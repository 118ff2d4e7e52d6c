"""`python -m cbir` and the `cbir` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from cbir.cli import run

        code = run()
    except KeyboardInterrupt:  # before, or after, the command itself
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
