"""What embedders were measured at on this machine: images/s, recall@1 and mAP, kept for later.

The figures are those of `cbir benchmark compare`: the real pipeline is timed, and the protocol is
asked with the projection that `cbir index` would fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from cbir.catalog import FeatureCache
from cbir.config import FeatureExtractor, IndexSpec
from cbir.errors import UsageError
from cbir.evaluate.ground_truth import Truth
from cbir.evaluate.kept import contents_of, protocol_key
from cbir.evaluate.protocol import summarise
from cbir.evaluate.run import measure
from cbir.evaluate.speed import SAMPLE, conditions, embedding_lap

METRICS = ("recall@1", "mAP", "MAP@R")


@dataclass(frozen=True, slots=True)
class Measurement:
    """Figures of one embedder on one protocol and machine.

    `spec` is the embedder's canonical spec. `data` is a key of the pictures and queries, `protocol`
    its name for people; `machine` a key of the processor and its cores. `intervals` are of 95 %.
    """

    fingerprint: str
    spec: str
    data: str
    protocol: str
    machine: str
    processor: str
    queries: int
    gallery: int
    images_per_second: float
    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    at: str


def this_machine() -> tuple[str, str]:
    """A key of the machine as far as speed goes, and its name for people."""
    facts = conditions()
    name = f"{facts['processor']}, {facts['cores']} cores, {facts['runtime']}"
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest(), name


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """A protocol that several embedders are measured on: its key is made once."""

    truth: Truth
    key: str


def yardstick(truth: Truth, advance: Callable[[int], None] = lambda _: None) -> Yardstick:
    """The protocol with its key, which hangs on the pictures' contents and not on their place."""
    return Yardstick(truth, protocol_key(truth, contents_of(truth, advance)))


def measure_embedder(
    stick: Yardstick,
    embedder: FeatureExtractor,
    cache: FeatureCache,
    advance: Callable[[int], None] = lambda _: None,
) -> Measurement:
    """Time an embedder and ask the protocol; what was found is kept in the cache.

    Raises UsageError where no query has anything to find.
    """
    lap = embedding_lap(stick.truth.paths[:SAMPLE], embedder)
    done = measure(stick.truth, embedder, IndexSpec(), cache, advance)
    found = summarise(done.answers)
    if not found.queries:
        raise UsageError("models --measure: expected queries with something to find; none has.")
    machine, name = this_machine()
    made = Measurement(
        embedder.fingerprint, embedder.spec.canonical(), stick.key, stick.truth.name, machine,
        name, found.queries, found.gallery, round(lap.images_per_second, 2),
        {metric: round(found.metrics[metric], 6) for metric in METRICS},
        {metric: [round(v, 6) for v in found.intervals[metric]] for metric in METRICS},
        datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    cache.put_measured((made.fingerprint, made.data, made.machine), json.dumps(asdict(made)))
    return made


def measurements(cache: FeatureCache) -> list[Measurement]:
    """All that was measured and kept, the latest first; what an older cbir kept is left out."""
    found = []
    for text in cache.measured():
        try:
            found.append(Measurement(**json.loads(text)))
        except (ValueError, TypeError):
            continue
    return sorted(found, key=lambda one: one.at, reverse=True)


def latest(found: Iterable[Measurement], machine: str) -> list[Measurement]:
    """Those of one machine on the protocol that was measured last: figures that can be compared."""
    own = [one for one in found if one.machine == machine]
    return [one for one in own if one.data == own[0].data]
