"""`cbir remove`: take images out of an index."""

from __future__ import annotations

import click

from cbir.cli.options import index_option


@click.command("remove", short_help="Take images out of an index.")
@click.argument("what", nargs=-1, required=True, metavar="PATH|ID...")
@index_option
def remove_command(what: tuple[str, ...], index: str) -> None:
    """Take images out of the index: by file, by folder, or by id (id:12).

    The files stay where they are. A file that stays below a folder of the index comes back with
    the next `cbir index`, unless --exclude names it; a folder of the index is forgotten.
    """
    import os

    from cbir.cli.output import note, quit_with, result
    from cbir.lifecycle import remove
    from cbir.present import count

    ids, paths = [], []
    for one in what:
        number = one.removeprefix("id:")
        is_id = number.isascii() and number.isdecimal() and not os.path.exists(one)
        if is_id:
            ids.append(int(number))
        else:
            paths.append(one)
    done = remove(index, ids, paths)
    for name in done.unknown:
        note(f"Not in the index: {name}")
    for name in done.forgotten:
        note(f"Forgotten: the folder {name}")
    result(f"{count(done.removed, 'image')} removed\n")
    if done.unknown and not done.removed and not done.forgotten:
        quit_with(2)
