"""What `cbir benchmark compare` gives out: the table, JSON, the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cbir.cli.benchmark.common import machine, pair, plain
from cbir.present.numbers import between, number, signed

if TYPE_CHECKING:
    from cbir.evaluate import Compare, CompareRow, Comparison
    from cbir.present.compare_page import ComparedSystem


def as_text(found: Comparison) -> str:
    """The table, best first, and what its columns mean."""
    from cbir.present import columns, count

    if not found.rows:
        return f"{found.protocol}: no system could be measured.\n"
    first = found.rows[0].summary
    rest = [f"{metric} and 95 % interval" if metric == found.by else metric
            for metric in shown(found.by)]  # fmt: skip
    header = ("system", *rest, "to the baseline", "images/s", "ms/query", "bytes/image", "front")
    left = (
        f", and {count(first.without_relevant, 'query', 'queries')} with nothing to find"
        if first.without_relevant
        else ""
    )
    return (
        f"{found.protocol}: {count(first.queries, 'query', 'queries')}{left}; "
        f"{count(first.gallery, 'image')} in the gallery\n\n"
        + columns(header, _aligned([_cells(row, found.by) for row in found.rows]))
        + "".join(f"\n{line}" for line in legend(found))
        + "\n"
    )


def shown(by: str) -> tuple[str, ...]:
    """Which metrics the table has: the one that orders it, and recall@1 and mAP."""
    return tuple(dict.fromkeys(("recall@1", by) if by != "recall@1" else ("recall@1", "mAP")))


def _cells(row: CompareRow, by: str) -> tuple[str, ...]:
    quality = [
        f"{number(row.summary.metrics[m])} ({between(row.summary.intervals[m])})"
        if m == by
        else number(row.summary.metrics[m])
        for m in shown(by)
    ]
    return (
        row.system, *quality, difference(row), rate(row.images_per_second),
        milliseconds(row.search_ms),
        f"{row.bytes_per_image:,}", "*" if row.front else "",
    )  # fmt: skip


def _aligned(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Numbers that are texts, set to the right: the columns before the last but for two."""
    from cbir.present.names import display_width, pad

    columns = list(map(list, zip(*rows, strict=True)))
    for i in range(len(columns) - 4, len(columns) - 1):
        width = max(map(display_width, columns[i]))
        columns[i] = [pad(cell, width, True) for cell in columns[i]]
    return list(zip(*columns, strict=True))


def difference(row: CompareRow) -> str:
    """ "+.012 (-.003 to .027)"; what the baseline is."""
    if row.difference is None:
        return "(the baseline)"
    mean, low, high = row.difference
    return "-" if mean != mean else f"{signed(mean)} ({between((low, high))})"


def milliseconds(value: float) -> str:
    """Two decimals below 10, one below 100; "-" where there is none."""
    if value != value:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def rate(value: float) -> str:
    """Images/s with two or three figures; "-" where there are none."""
    if value != value:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def legend(found: Comparison) -> list[str]:
    """What the columns mean, one sentence a line."""
    from cbir.present import count

    paired = (
        f"; differences in {found.by} to {found.baseline}, query by query, with paired ones"
        if found.baseline
        else "; the baseline could not be measured"
    )
    lines = [
        f"Means over queries, with 95 % bootstrap intervals{paired}.",
        f"images/s: embedding, decoding included, of {count(found.timed_on, 'picture')}, median of "
        "the laps. ms/query: one search for 10 hits, on one core.",
        "bytes/image: in the index file. *: on the Pareto front of "
        f"{found.by}, images/s (5 % count as equal) and bytes/image.",
        f"Timed on {found.machine['cores']} cores of {found.machine['processor']}.",
    ]
    if not found.fitted:
        lines.append(
            "The gallery has fewer than 500 different pictures: as in `cbir index`, no projection "
            "is fitted, so lengths and projections make no difference."
        )
    return lines


def as_json(found: Comparison) -> str:
    """One object; rows as in the table."""
    first = found.rows[0].summary if found.rows else None
    whole = {
        "protocol": found.protocol,
        "by": found.by,
        "baseline": found.baseline,
        "queries": first.queries if first else 0,
        "without_relevant": first.without_relevant if first else 0,
        "gallery": first.gallery if first else 0,
        "front": {"over": [found.by, "images_per_second", "bytes_per_image"],
                  "systems": [row.system for row in found.rows if row.front]},
        "systems": [_object(row) for row in found.rows],
        "not_measured": [{"embedder": p.name, "reason": p.reason} for p in found.problems],
        "skipped": [{"path": f.path, "reason": f.reason} for f in found.failures],
        "machine": {**machine(), **found.machine},
        "timed_on": found.timed_on,
    }  # fmt: skip
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def _object(row: CompareRow) -> dict[str, Any]:
    timed = {"images_per_second": row.images_per_second, "query_embedding_ms": row.alone_ms,
             "ms_per_query": row.search_ms}  # fmt: skip
    made = None
    if row.difference is not None:
        mean, low, high = row.difference
        made = {"mean": plain({"": mean})[""], "interval": pair((low, high))}
    return {
        "system": row.system,
        "embedder": row.about["embedder"],
        "fingerprint": row.about["fingerprint"],
        "index_spec": row.spec.to_dict(),
        "dims": row.about["dims"],
        "metrics": plain(row.summary.metrics),
        "intervals": {name: pair(one) for name, one in row.summary.intervals.items()},
        "difference": made,
        **plain(timed),
        "bytes_per_image": row.bytes_per_image,
        "feature_bytes": row.feature_bytes,
        "embedding_s": row.about["embedding_s"],
        "ranking_s": row.about["ranking_s"],
        "front": row.front,
    }


def write_comparison(path: str, found: Comparison, compare: Compare) -> None:
    """A page with plots and the table; the floor is drawn only where it was asked for."""
    from datetime import date

    from cbir.evaluate import pareto_front
    from cbir.present import count, write_page
    from cbir.present.compare_page import ComparePage, compare_page

    by = found.by
    front = [row for row in found.rows if row.front]
    best = pareto_front([(r.summary.metrics[by], r.images_per_second, 0.0) for r in front])
    line = {row.system for row, on in zip(front, best, strict=True) if on}
    first = found.rows[0].summary if found.rows else None
    sizes = (
        [count(first.queries, "query", "queries"),
         f"{count(first.gallery, 'image')} in the gallery",
         count(len(found.rows), "system")] if first else []
    )  # fmt: skip
    asked = {candidate.name for candidate in compare.asked}
    page = ComparePage(
        title=f"Systems compared: {found.protocol}",
        by=by,
        facts=tuple(sizes),
        header=(*shown(by), "to the baseline", "images/s", "ms to embed one", "ms/query",
                "bytes/image", "bytes of a feature"),
        systems=tuple(
            _compared(row, by, (row.system in line, row.candidate.name in asked))
            for row in found.rows
        ),
        notes=tuple(legend(found)),
        problems=tuple((p.name, p.reason) for p in found.problems),
        skipped=len(found.failures),
        date=date.today().isoformat(),
    )  # fmt: skip
    write_page(path, compare_page(page))


def _compared(row: CompareRow, by: str, drawn: tuple[bool, bool]) -> ComparedSystem:
    from cbir.present.compare_page import ComparedSystem

    summary = row.summary
    low, high = summary.intervals[by]
    step = ("-", "")
    if row.difference is not None:
        mean, below, above = row.difference
        step = ("-", "") if mean != mean else (signed(mean), between((below, above)))
    quality = [
        (number(summary.metrics[m]), between(summary.intervals[m]) if m == by else "")
        for m in shown(by)
    ]
    rest = (
        rate(row.images_per_second), milliseconds(row.alone_ms), milliseconds(row.search_ms),
        f"{row.bytes_per_image:,}", f"{row.feature_bytes:,}",
    )  # fmt: skip
    cells = (*quality, step, *((text, "") for text in rest))
    return ComparedSystem(
        row.system, row.candidate.group, summary.metrics[by], low, high, row.images_per_second,
        row.bytes_per_image, cells, row.front, drawn[0], row.difference is None, drawn[1],
    )  # fmt: skip
