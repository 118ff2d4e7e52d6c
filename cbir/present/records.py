r"""Rankings for other programs: JSON, JSON lines, CSV, and bare paths.

File names that are not valid UTF-8 cannot stand in JSON or CSV. The rule for them: `path` is then
text for people, each such byte written as `\xff`, and JSON gives the exact bytes beside it as
`path_bytes` (base64). The key `path_bytes` is there for those names only. `to_paths` writes exact
bytes always. Query, index and metadata follow the same rule for their text, without a second key.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from cbir.present.names import name_base64, name_bytes, valid_unicode
from cbir.types import Hit, Ranking

_DECIMALS = 6
_CSV_COLUMNS = ("query", "rank", "id", "score", "match", "identical", "path")


def to_json(rankings: Iterable[Ranking], several: bool = False) -> str:
    """One object for one query, else (or where `several` were asked) an array; indented, pure
    ASCII, ending with a line break.

    `{"query", "index", "took_ms", "hits": [{"rank", "id", "path", "score", "match", "identical",
    "metadata"}]}`; where a match was asked for also `min_match` and `nearest`, the nearest image
    even where it does not match. Scores and matches have at most six decimals; `match` is null
    where nothing is calibrated, and a number that is not finite is null too.
    """
    objects = [_ranking_object(ranking) for ranking in rankings]
    whole = objects[0] if len(objects) == 1 and not several else objects
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def to_jsonl(rankings: Iterable[Ranking]) -> str:
    """One line a query, each the object that `to_json` makes, without white space."""
    return "".join(
        json.dumps(_ranking_object(ranking), separators=(",", ":"), allow_nan=False) + "\n"
        for ranking in rankings
    )


def to_csv(rankings: Iterable[Ranking]) -> str:
    """One row a hit (RFC 4180: a header, CRLF, quotes where needed).

    Columns: query, rank, id, score, match (empty where there is none), identical (true, false),
    path, then one for every metadata key, in the order they first appear. A metadata key that is
    one of those names gets `metadata_` before it. Write the text with `newline=""`.
    """
    rows = [(ranking.query, hit) for ranking in rankings for hit in ranking.hits]
    keys = list(dict.fromkeys(key for _, hit in rows for key in hit.metadata))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*_CSV_COLUMNS, *_metadata_columns(keys)])
    for query, hit in rows:
        row = [query, *_csv_fields(hit), *(hit.metadata.get(key, "") for key in keys)]
        writer.writerow([valid_unicode(field) for field in row])
    return text.getvalue()


def to_paths(rankings: Iterable[Ranking], null: bool = False) -> bytes:
    """The hits' paths, best first, byte for byte as the file system has them.

    Each ends with a line break, or with a NUL byte where `null`: the only safe end, since a name
    may hold a line break.
    """
    end = b"\0" if null else b"\n"
    return b"".join(name_bytes(hit.path) + end for ranking in rankings for hit in ranking.hits)


def _ranking_object(ranking: Ranking) -> dict[str, Any]:
    return {
        "query": valid_unicode(ranking.query),
        "index": valid_unicode(ranking.index),
        "took_ms": _number(ranking.took_ms, 3),
        **_asked_match(ranking),
        "hits": [_hit_object(hit) for hit in ranking.hits],
    }


def _asked_match(ranking: Ranking) -> dict[str, Any]:
    if ranking.min_match is None:
        return {}
    nearest = None if ranking.nearest is None else _hit_object(ranking.nearest)
    return {"min_match": ranking.min_match, "nearest": nearest}


def _hit_object(hit: Hit) -> dict[str, Any]:
    path = valid_unicode(hit.path)
    exact = {} if path == hit.path else {"path_bytes": name_base64(hit.path)}
    return {
        "rank": int(hit.rank),
        "id": int(hit.id),
        "path": path,
        **exact,
        "score": _number(hit.score),
        "match": None if hit.match is None else _number(hit.match),
        "identical": bool(hit.identical),
        "metadata": {valid_unicode(k): valid_unicode(v) for k, v in hit.metadata.items()},
    }


def _number(value: float, decimals: int = _DECIMALS) -> float | None:
    rounded = round(float(value), decimals) + 0.0  # + 0.0 makes -0.0 a plain zero
    return rounded if math.isfinite(rounded) else None


def _csv_fields(hit: Hit) -> list[str]:
    score, match = _number(hit.score), None if hit.match is None else _number(hit.match)
    return [
        str(int(hit.rank)),
        str(int(hit.id)),
        "" if score is None else str(score),
        "" if match is None else str(match),
        "true" if hit.identical else "false",
        hit.path,
    ]


def _metadata_columns(keys: Sequence[str]) -> list[str]:
    """The keys as column names that differ from the fixed ones and from each other."""
    taken = {*_CSV_COLUMNS, *(key for key in keys if key not in _CSV_COLUMNS)}
    names = []
    for key in keys:
        name = key
        if key in _CSV_COLUMNS:
            while name in taken:
                name = f"metadata_{name}"
            taken.add(name)
        names.append(valid_unicode(name))
    return names
