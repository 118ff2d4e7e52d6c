"""`cbir index`: build an index, or bring it up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbir.cli.options import (
    embedder_options,
    index_option,
    json_option,
    precision_option,
    runtime_options,
    search_options,
    strict_option,
)

if TYPE_CHECKING:
    from cbir.config import IndexSpec
    from cbir.lifecycle import EmbedderRequest, SyncOptions, SyncReport


@click.command("index", short_help="Index folders, or bring an index up to date.")
@click.argument("folders", nargs=-1, metavar="[FOLDER]...")
@index_option
@embedder_options
@precision_option
@runtime_options
@click.option("--exclude", multiple=True, metavar="GLOB",
              help="Leave out files and folders whose name or relative path fits; may be repeated. "
              'Remembered for later runs; --exclude "" clears it.')  # fmt: skip
@click.option("--hidden/--no-hidden", default=None,
              help="Whether hidden files and folders are taken, too. Remembered; at first: no.",
              )  # fmt: skip
@click.option("--metadata", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
              help="CSV with a column `path` (relative to the CSV) and others, for --where.",
              )  # fmt: skip
@click.option("--dims", type=int, metavar="N",
              help="Length of an embedding, at most. Default: 256.")  # fmt: skip
@click.option("--projection", type=click.Choice(["pca", "none"]),
              help="pca: gallery mean subtracted, leading principal components kept; none: "
              "features as they are. Default: pca.")  # fmt: skip
@click.option("--refit", is_flag=True, help="Fit the projection again now.")
@search_options
@click.option("--reindex", is_flag=True,
              help="Plan, build and tune the search index again now, from stored features.",
              )  # fmt: skip
@click.option("--calibrate/--no-calibrate", default=True, show_default=True,
              help="At the end, where it is due: fit how scores become matches, on edited copies "
              "of a sample.")  # fmt: skip
@click.option("--prune", is_flag=True,
              help="Also drop the images of folders that are absent or empty.")  # fmt: skip
@click.option("--retry-failed", is_flag=True,
              help="Try files again that failed before and did not change.")  # fmt: skip
@click.option("--max-megapixels", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Skip pictures that would take more in memory. Default: 100.")  # fmt: skip
@click.option("--profile", is_flag=True, help="Also say where the time went.")
@strict_option
@json_option
def index_command(folders: tuple[str, ...], index: str, **options: object) -> None:
    """Index the images below FOLDER, or bring their index up to date.

    Only new and changed files are embedded. Moved and renamed ones are recognised by their
    content. Files that are gone are dropped, unless the whole folder is absent or empty (an
    unmounted disk): that takes --prune. Without FOLDER, all folders of the index are looked at
    again. A run that was interrupted goes on where it stopped.
    """
    from cbir.cli.output import EXIT_SKIPPED, Bar, quit_with, result
    from cbir.lifecycle import sync

    with Bar() as bar:
        report = sync(
            index, folders, _options(index, options), embedder=_embedder(options), progress=bar
        )
    if options["as_json"]:
        result(_as_json(index, report))
    _tell(index, report, quiet=bool(options["as_json"]))
    if options["profile"] and not options["as_json"]:
        result(_profile(report))
    if options["strict"] and (report.failures or report.known_failures):
        quit_with(EXIT_SKIPPED)


def _options(index: str, options: dict[str, object]) -> SyncOptions:
    from cbir.lifecycle import SyncOptions

    exclude = tuple(str(g) for g in options["exclude"])  # type: ignore[attr-defined]
    scanning: dict[str, object] | None = None
    if exclude or options["hidden"] is not None:
        scanning = {}
        if exclude:
            scanning["exclude"] = [glob for glob in exclude if glob]
        if options["hidden"] is not None:
            scanning["include_hidden"] = bool(options["hidden"])
    megapixels = options["max_megapixels"]
    metadata = options["metadata"]
    return SyncOptions(
        prune=bool(options["prune"]),
        retry_failed=bool(options["retry_failed"]),
        scanning=scanning,
        metadata=None if metadata is None else str(metadata),
        spec=_spec(index, options),
        refit=bool(options["refit"]),
        reindex=bool(options["reindex"]),
        calibrate=bool(options["calibrate"]),
        max_pixels=int(float(str(megapixels)) * 1e6) if megapixels is not None else None,
    )


def _spec(index: str, options: dict[str, object]) -> IndexSpec | None:
    """The derived state that is asked for: what the index has, with what is named changed."""
    keys = {"dims": "dims", "projection": "projection", "kind": "kind", "recall": "recall",
            "memory": "memory", "latency": "latency_ms"}  # fmt: skip
    named = {key: options[name] for name, key in keys.items() if options[name] is not None}
    if not named:
        return None
    from cbir.catalog import Catalog
    from cbir.config import IndexSpec
    from cbir.errors import IndexMissingError

    stored: dict[str, object] = {}
    try:
        with Catalog(index) as catalog:
            stored = catalog.setting("index_spec") or {}
    except IndexMissingError:
        pass
    return IndexSpec.from_dict({**stored, **named})


def _embedder(options: dict[str, object]) -> EmbedderRequest | None:
    from cbir.lifecycle import EmbedderRequest

    keys = ("embedder", "weights", "cut", "input_size", "resize", "precision")
    if not any(options[key] for key in keys):
        return None
    size, resize, weights = options["input_size"], options["resize"], options["weights"]
    return EmbedderRequest(
        name=None if options["embedder"] is None else str(options["embedder"]),
        cut=str(options["cut"] or ""),
        input_size=None if size is None else int(str(size)),
        resize=resize,  # type: ignore[arg-type]
        weights_file=None if weights is None else str(weights),
        precision=options["precision"],  # type: ignore[arg-type]
    )


def _tell(index: str, report: SyncReport, quiet: bool) -> None:
    """What was done, for people."""
    from cbir.cli.output import failures, note, result
    from cbir.present import human_duration

    failures(report.failures)
    for line in report.notes:
        note(f"Note: {line}")
    for line in report.offline:
        note(
            f"Kept the images of {line}. To drop them: cbir index --prune. If it was renamed: "
            "cbir index OLD NEW --prune"
        )
    if report.metadata_unmatched:
        note(
            f"{len(report.metadata_unmatched):,} rows of the metadata name no image of the index, "
            f"the first: {report.metadata_unmatched[0]}"
        )
    if quiet:
        return
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (report.added, "added"),
            (report.changed, "changed"),
            (report.moved, "moved"),
            (report.removed, "removed"),
            (report.unchanged, "unchanged"),
            (len(report.failures), "failed"),
            (report.known_failures, "failed before"),
        )
        if number
    ]
    seconds = report.seconds - report.calibration_s
    rate = f", {report.embedded / seconds:,.1f} images/s" if report.embedded else ""
    match report.calibrated:
        case True:
            more = f"Scores calibrated in {human_duration(report.calibration_s)}.\n"
        case False:
            more = (
                "Scores are not calibrated: too few of the pictures' files can be read, or the "
                "embedder cannot be loaded.\n"
            )
        case _:
            more = ""
    done = ", ".join(parts) or "no images found"
    if report.precision:
        result(_precisions(report))
    result(
        f"{done}. Embedded {report.embedded:,} in {human_duration(seconds)}{rate}.\n"
        f"{more}{report.images:,} images in {index}\n"
    )


def _precisions(report: SyncReport) -> str:
    """What was measured for the choice of a precision, and the choice."""
    from cbir.present import columns

    def number(value: float, digits: int = 3) -> str:
        return "" if value != value else f"{value:.{digits}f}"

    rows = [
        (row.precision, number(row.images_per_second, 1), number(row.recall), number(row.overlap),
         number(row.cosine, 4), row.problem or ("" if row.holds() else "answers change"))
        for row in report.precisions
    ]  # fmt: skip
    header = (
        "precision",
        "images/s",
        "recall@1 of copies",
        "of the nearest ten",
        "least cosine",
        "",
    )
    table = columns(header, rows) if rows else ""
    return f"{table}Precision {report.precision}.\n"


def _profile(report: SyncReport) -> str:
    """Where the time went, a line each, and what the run waited for."""
    spent, images = report.stages, max(1, report.embedded)
    decoding, embedding = (f"{s / images * 1000:.1f} ms" for s in (spent.decode_s, spent.embed_s))
    run_by = f" ({report.run_by})" if report.run_by else ""
    rows = [
        ("scanning", spent.scan_s, ""),
        ("decoding", spent.decode_s, f"computing of all threads, {decoding} an image"),
        ("embedding", spent.embed_s, f"{embedding} an image{run_by}"),
        ("storing", spent.write_s, "meanwhile"),
        ("waiting", spent.wait_for_decode_s, "for decoded pictures"),
        ("waiting", spent.wait_for_embed_s, "for embedded pictures"),
        ("deriving", spent.derive_s, ""),
        ("calibrating", report.calibration_s, ""),
    ]  # fmt: skip
    lines = [f"{name:<12}{seconds:8.2f} s  {more}".rstrip() for name, seconds, more in rows]
    return "".join(f"{line}\n" for line in lines)


def _as_json(index: str, report: SyncReport) -> str:
    import json
    from dataclasses import asdict

    numbers = {
        name: getattr(report, name)
        for name in (
            "added", "changed", "moved", "removed", "unchanged", "embedded", "ignored",
            "known_failures", "images",
        )
    }  # fmt: skip
    derived = report.derived
    return (
        json.dumps(
            {
                "index": index,
                **numbers,
                "failures": [{"path": f.path, "reason": f.reason} for f in report.failures],
                "offline": report.offline,
                "metadata_rows": report.metadata_rows,
                "metadata_unmatched": len(report.metadata_unmatched),
                "generation": derived.generation if derived else None,
                "fitted_on": derived.fitted if derived else None,
                "dims": derived.dims if derived else None,
                "search": asdict(derived.made) if derived and derived.made else None,
                "calibrated": report.calibrated,
                "calibration_s": round(report.calibration_s, 3),
                "seconds": round(report.seconds, 3),
                "run_by": report.run_by,
                "precision": report.precision or None,
                "stages": {name: round(s, 3) for name, s in asdict(report.stages).items()},
            },
            indent=2,
        )
        + "\n"
    )
