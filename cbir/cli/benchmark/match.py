"""`cbir benchmark match`: how far the match of an index, or of a gallery, can be trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.benchmark.common import load_embedder, machine, pair, read_truth, truth_options
from cbir.cli.options import embedder_options, index_option, json_option, runtime_options
from cbir.present.numbers import between, number

if TYPE_CHECKING:
    from cbir.cli.output import Bar
    from cbir.evaluate import Truth
    from cbir.evaluate.gallery import Gallery
    from cbir.evaluate.reliability import HeldOut, MatchReport, Reliability
    from cbir.query import Calibration


@click.command("match", short_help="How far `match` can be trusted: reliability, answers at .9.")
@truth_options
@index_option
@embedder_options
@runtime_options
@click.option("--dims", type=click.IntRange(min=1), metavar="N", default=256, show_default=True,
              help="Length of an embedding, at most.")  # fmt: skip
@json_option
def match_command(folder: str | None, **options: Any) -> None:
    """Measure how far `match`, the calibrated probability, can be trusted.

    Without FOLDER, --manifest or --landmarks: of the index -i, with the calibration that it has,
    each picture of a sample left out of its own answer; where another copy of it is in the gallery,
    an answer is right. With one of them: its gallery is calibrated as `cbir index` would, and its
    queries are the pictures that have no copy in it; where they have labels, the match is compared
    with equal labels, too. Edited copies are made of pictures that were no sources of the fit (in a
    gallery of fewer than 500: other edits of them).
    """
    from cbir.cli.output import Bar, result
    from cbir.evaluate.calibrate import CalibrationOptions
    from cbir.evaluate.reliability import match_report

    with Bar() as bar:
        if folder or options["manifest"] or options["landmarks"]:
            truth = read_truth("benchmark match", folder, options)
            gallery, calibration, held = _of_truth(truth, options, bar)
        else:
            gallery, calibration, held = _of_index(options["index"])
        bar.stage("asking", CalibrationOptions().budget(len(gallery)))
        report = match_report(gallery, calibration, held, advance=bar.advance)
    result(
        _as_json(gallery.name, report) if options["as_json"] else report_text(gallery.name, report)
    )


def _of_index(path: str) -> tuple[Gallery, Calibration, HeldOut]:
    from cbir.errors import UsageError
    from cbir.evaluate.calibrate import negative_rows
    from cbir.evaluate.gallery import of_index
    from cbir.evaluate.reliability import HeldOut
    from cbir.query import Index

    index = Index.open(path)  # it lives as long as the command
    calibration = index.calibration()
    if calibration is None:
        raise UsageError(
            f"{path} is not calibrated, for which it takes 40 different pictures whose files are "
            "there. Run `cbir index`."
        )
    gallery = of_index(index)
    rows = negative_rows(gallery, 0)
    return gallery, calibration, HeldOut(gallery.take(rows), [{row} for row in rows.tolist()])


def _of_truth(
    truth: Truth, options: dict[str, Any], bar: Bar
) -> tuple[Gallery, Calibration, HeldOut]:
    """The protocol's gallery, calibrated, and its queries."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.config import IndexSpec
    from cbir.errors import UsageError
    from cbir.evaluate.calibrate import LEAST, CalibrationOptions, calibrate
    from cbir.evaluate.reliability import of_truth

    embedder = load_embedder(options["embedder"], options)
    with FeatureCache(default_cache()) as cache:
        bar.stage(embedder.spec.backbone, len(truth.paths))
        gallery, held = of_truth(truth, embedder, IndexSpec(dims=options["dims"]), cache,
                                 bar.advance)  # fmt: skip
    bar.stage("calibrating", CalibrationOptions().budget(len(gallery)))
    calibration = calibrate(gallery, advance=bar.advance)
    if calibration is None:
        raise UsageError(
            f"benchmark match: expected {LEAST} different pictures or more in the gallery; "
            f"received {len(gallery)}."
        )
    return gallery, calibration, held


def report_text(name: str, report: MatchReport) -> str:
    """A report as tables."""
    from cbir.present import columns, count

    rows = [
        (f"{p:.2f}", _share(report.others[p]), _share(report.answered[p]), number(report.right[p]))
        for p in report.answered
    ]
    header = ("min-match", "not in it, answered", "edited copies, answered", "right of them")
    edits = [(edit, number(share)) for edit, share in report.edits.items()]
    parts = [
        f"{name}: {count(report.images, 'picture')} in the gallery. Asked for "
        f"{count(report.without, 'picture')} that are not in it, and for "
        f"{count(report.copies, 'edited copy', 'edited copies')} of pictures that are.\n",
        columns(header, rows),
        "Edited copies answered at .90, by edit\n" + columns(("edit", "answered"), edits),
        _reliability("The score as a probability (before)", report.before),
        _reliability("The match (after)", report.after),
    ]
    if report.labelled is not None:
        parts.append(_reliability("The match against equal labels", report.labelled))
    return "\n".join(parts)


def _share(found: tuple[float, tuple[float, float]]) -> str:
    return f"{number(found[0])} ({between(found[1])})"


def _reliability(title: str, found: Reliability) -> str:
    from cbir.present import columns

    rows = [(number(b.said), number(b.right), f"{b.count:,}") for b in found.bins]
    return (
        f"{title}: expected calibration error {number(found.error)}\n"
        + columns(("said", "right", "hits"), rows)
    )  # fmt: skip


def _as_json(name: str, report: MatchReport) -> str:
    whole = {"gallery": name, "about": machine(), **report_dict(report)}
    return json.dumps(whole, indent=2) + "\n"


def report_dict(report: MatchReport) -> dict[str, Any]:
    """A report as plain values, for JSON."""

    def shares(found: dict[float, tuple[float, tuple[float, float]]]) -> dict[str, Any]:
        return {f"{p:g}": {"share": _plain(v[0]), "interval": pair(v[1])} for p, v in found.items()}

    def table(found: Reliability | None) -> dict[str, Any] | None:
        if found is None:
            return None
        bins = [{"said": _plain(b.said), "right": _plain(b.right), "hits": b.count}
                for b in found.bins]  # fmt: skip
        return {"expected_calibration_error": _plain(found.error), "bins": bins}

    return {
        "images": report.images, "edited_copies": report.copies, "without_a_copy": report.without,
        "without_a_copy_answered": shares(dict(report.others)),
        "edited_copies_answered": shares(dict(report.answered)),
        "right_of_answered": {f"{p:g}": _plain(v) for p, v in report.right.items()},
        "answered_at_0.9_by_edit": {edit: _plain(v) for edit, v in report.edits.items()},
        "before": table(report.before), "after": table(report.after),
        "labelled": table(report.labelled),
        "fit": dict(report.about),
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return None if value != value else round(value, 6)
