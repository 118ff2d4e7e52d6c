"""How much training data do features need? Simple classifiers on embeddings, over training sizes.

The classical comparison: features of a network with few images a class against features from before
networks with many. Every embedder and head sees the same draws of training images; test images are
the same throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbir.catalog import FeatureCache
from cbir.config import FeatureExtractor, IndexSpec
from cbir.embed import Projection, fit_gallery
from cbir.evaluate.embedding import embed_files
from cbir.evaluate.fitting import fitted
from cbir.evaluate.heads import HEADS, Head
from cbir.evaluate.probe_parts import ALL, Parts, ProbeSpec, Task, prepare, without_failed
from cbir.types import Failure, Ids, Vectors

ROUNDS = 1000
"""Of the bootstrap."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One embedder and head with one number of training images a class.

    per_class  as asked; 0: all. `images` is how many that made in all
    accuracy   share of test images whose class was right, mean over the draws
    by_class   the same for each class first, then the mean over classes
    interval   95 % of `accuracy`: draws and test images both drawn anew, with replacement
    spread     standard deviation of `accuracy` from draw to draw; NaN for one draw
    chosen     what the head chose, draw by draw ("C=1")
    right      draw by draw, which test images were right: bool (draws, tests)
    """

    embedder: str
    head: str
    per_class: int
    images: int
    accuracy: float
    by_class: float
    interval: tuple[float, float]
    spread: float
    chosen: tuple[str, ...]
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """All cells, and what was left out.

    short      number of images a class → classes that have fewer, which then give all they have
    untrained  test images of classes without any training image: left out, and counted here
    shared     test images that are, byte for byte, among the training images
    """

    name: str
    spec: ProbeSpec
    train: int
    test: int
    classes: int
    cells: tuple[Cell, ...]
    short: Mapping[int, int]
    untrained: int
    shared: int
    failures: tuple[Failure, ...]
    dims: Mapping[str, int]

    def cell(self, embedder: str, head: str, per_class: int) -> Cell:
        """One of the cells; KeyError where there is none."""
        for cell in self.cells:
            if (cell.embedder, cell.head, cell.per_class) == (embedder, head, per_class):
                return cell
        raise KeyError((embedder, head, per_class))

    def best(self, embedder: str, per_class: int) -> Cell:
        """The cell of the head with the highest accuracy."""
        cells = [c for c in self.cells if (c.embedder, c.per_class) == (embedder, per_class)]
        return max(cells, key=lambda cell: cell.accuracy)


def probe(
    parts: Parts,
    embedders: Mapping[str, FeatureExtractor],
    spec: ProbeSpec | None = None,
    *,
    heads: Mapping[str, Head] | None = None,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Probe:
    """Train every head on every embedder's embeddings, and count right answers on the test part.

    What is learnt without labels is learnt from all training pictures, whatever the number of
    labelled ones: an embedder that learns, and the projection, as `cbir index` would make it (below
    500 pictures: none). `advance` is called with 1 for each picture embedded and
    for each classifier trained (see `steps`). Files that cannot be used are left out.
    """
    spec = spec or ProbeSpec()
    index = IndexSpec(dims=spec.dims, projection=spec.projection)
    used = heads or HEADS
    rows: dict[str, Vectors] = {}
    bad: dict[int, Failure] = {}
    contents: tuple[bytes, ...] = ()
    for name, embedder in embedders.items():
        ready = fitted(embedder, [parts.paths[i] for i in parts.train], cache, index.seed)
        found = embed_files(parts.paths, ready, cache, advance)
        bad.update(found.failed)
        contents = found.contents
        train = [i for i in parts.train.tolist() if i not in bad]
        rows[name] = _embeddings(found.features, [contents[i] for i in train], train, index)
    kept = without_failed(parts, bad)
    task, short = prepare(kept, spec)
    cells = [
        _cell(name, head, size, (rows[name], task, used[head], spec), advance)
        for name in embedders
        for head in used
        for size in spec.per_class
    ]
    trained = {contents[i] for i in kept.train.tolist()}
    return Probe(
        parts.name, spec, len(kept.train), len(task.test), len(np.unique(task.classes[kept.train])),
        tuple(cells), short, len(kept.test) - len(task.test),
        sum(contents[i] in trained for i in task.test.tolist()), tuple(bad.values()),
        {name: found.shape[1] for name, found in rows.items()},
    )  # fmt: skip


def steps(parts: Parts, embedders: int, spec: ProbeSpec, heads: int = len(HEADS)) -> int:
    """How often `probe` calls `advance`, summed."""
    trained = sum(1 if size == ALL else spec.draws for size in spec.per_class)
    return embedders * (len(parts.paths) + heads * trained)


def _embeddings(
    features: Vectors, contents: Sequence[bytes], train: Sequence[int], index: IndexSpec
) -> Vectors:
    """All pictures' embeddings, the projection fitted on the training pictures."""
    if index.projection == "none":
        return Projection.none(features.shape[1]).apply(features)
    return fit_gallery(contents, features[train], index.dims, index.seed).apply(features)


def _cell(
    embedder: str,
    head: str,
    size: int,
    given: tuple[Vectors, Task, Head, ProbeSpec],
    advance: Callable[[int], None],
) -> Cell:
    rows, task, train, spec = given
    right, chosen = [], []
    for number, images in enumerate(task.draws[size]):
        made = train(rows[images], task.classes[images], spec.seed + number)
        right.append(made.predict(rows[task.test]) == task.classes[task.test])
        chosen.append(made.chosen)
        advance(1)
    hits = np.array(right)
    each = hits.mean(axis=1)
    return Cell(
        embedder, head, size, len(task.draws[size][0]), float(each.mean()),
        _by_class(hits, task.classes[task.test]), interval(hits, spec.seed),
        float(each.std(ddof=1)) if len(each) > 1 else float("nan"), tuple(chosen), hits,
    )  # fmt: skip


def _by_class(hits: NDArray[np.bool_], classes: Ids) -> float:
    return float(np.mean([hits[:, classes == name].mean() for name in np.unique(classes)]))


def interval(
    hits: NDArray[np.bool_], seed: int = 0, less: NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """95 % percentile interval of the mean of hits, bool (draws, tests): draws and test images are
    both drawn with replacement, since both are a sample.

    With `less`, bool (other draws, tests): of the mean of hits minus that of `less`, test images
    drawn together, draws of each apart.
    """
    rng = np.random.default_rng(seed)
    tests = hits.shape[1]
    means = []
    for _ in range(ROUNDS):
        each = _mean_of_draws(hits, rng)
        if less is not None:
            each = each - _mean_of_draws(less, rng)
        means.append(each[rng.integers(0, tests, tests)].mean())
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _mean_of_draws(hits: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(hits[rng.integers(0, len(hits), len(hits))].mean(axis=0), np.float64)


def difference(first: Cell, second: Cell, seed: int = 0) -> tuple[float, float, float]:
    """Accuracy of the first minus that of the second, with its paired 95 % interval."""
    low, high = interval(first.right, seed, second.right)
    return first.accuracy - second.accuracy, low, high


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """How few labelled images do for one embedder what many do for another.

    Of each embedder the best head at that size. `few`: the stronger embedder with the fewest images
    a class that reach what the weaker one has with `all`. `needs`: the weaker one with the fewest
    that reach what the stronger one has with `least`, the smallest number tried; None: never.
    """

    few: Cell
    all: Cell
    least: Cell
    needs: Cell | None

    @property
    def stronger(self) -> str:
        """The embedder that is best with all images."""
        return self.few.embedder

    @property
    def weaker(self) -> str:
        """The other one."""
        return self.all.embedder


def matches(found: Probe) -> tuple[Match, ...]:
    """The embedder that is best with all images against each of the others.

    Empty where there is one embedder, or where "all" was not asked or nothing else.
    """
    if ALL not in found.spec.per_class or len(set(found.spec.per_class)) == 1:
        return ()
    names = list(dict.fromkeys(cell.embedder for cell in found.cells))
    sizes = sorted(size for size in found.spec.per_class if size != ALL)
    top = max(names, key=lambda name: found.best(name, ALL).accuracy)
    made = []
    for name in names:
        if name != top:
            bar, least = found.best(name, ALL), found.best(top, sizes[0])
            few = _first(found, top, sizes, bar) or found.best(top, ALL)
            made.append(Match(few, bar, least, _first(found, name, sizes, least)))
    return tuple(made)


def _first(found: Probe, name: str, sizes: Sequence[int], bar: Cell) -> Cell | None:
    """The embedder's cell of the smallest size that is as accurate as another one."""
    cells = (found.best(name, size) for size in [*sizes, ALL])
    return next((cell for cell in cells if cell.accuracy >= bar.accuracy), None)
