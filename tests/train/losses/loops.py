"""The losses as plain loops over images, written from the papers' equations, in float64.

Each takes embeddings (n, d), labels (n,), and the loss layer, whose options and weights it reads.
`weights` are those of the layer, so that a test can vary them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cbir.train import mining
from tests.train.losses.helpers import DIMS

Array = NDArray[Any]
Loop = Callable[[Array, Array, Any, Sequence[Array]], float]


def length_one(rows: Array) -> Array:
    return np.array([row / math.sqrt(sum(v * v for v in row)) for row in rows])


def cosines(rows: Array, others: Array) -> Array:
    return np.array([[float(a @ b) for b in length_one(others)] for a in length_one(rows)])


def euclid(rows: Array) -> Array:
    rows = length_one(rows)
    return np.array([[math.sqrt(sum((a - b) ** 2)) for b in rows] for a in rows])


def positives_of(i: int, labels: Array) -> list[int]:
    return [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]


def negatives_of(i: int, labels: Array) -> list[int]:
    return [j for j in range(len(labels)) if labels[j] != labels[i]]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(rows: Array, labels: Array, layer: Any, weights: Sequence[Array]) -> float:
    costs = []
    for row, label in zip(rows, labels, strict=True):
        logits = [float(row @ w) + b for w, b in zip(weights[0], weights[1], strict=True)]
        total = sum(math.exp(z) for z in logits)
        target = [layer.smoothing / len(logits)] * len(logits)
        target[label] += 1 - layer.smoothing
        costs.append(
            -sum(t * math.log(math.exp(z) / total) for t, z in zip(target, logits, strict=True))
        )
    return mean(costs)


def of_logits(logits: Array, labels: Array) -> float:
    return mean([
        -math.log(math.exp(row[label]) / sum(math.exp(z) for z in row))
        for row, label in zip(logits, labels, strict=True)
    ])  # fmt: skip


def normalised_softmax(rows: Array, labels: Array, layer: Any, weights: Sequence[Array]) -> float:
    return of_logits(cosines(rows, weights[0]) / layer.temperature, labels)


def cosface(rows: Array, labels: Array, layer: Any, weights: Sequence[Array]) -> float:
    found = cosines(rows, weights[0])
    for i, label in enumerate(labels):
        found[i, label] -= layer.margin
    return of_logits(layer.scale * found, labels)


def arcface(rows: Array, labels: Array, layer: Any, weights: Sequence[Array]) -> float:
    found = cosines(rows, weights[0])
    for i, label in enumerate(labels):
        angle = math.acos(found[i, label])
        if angle < math.pi - layer.margin:
            found[i, label] = math.cos(angle + layer.margin)
        else:
            found[i, label] -= 1 - math.cos(layer.margin)
    return of_logits(layer.scale * found, labels)


def proxy_nca(rows: Array, labels: Array, layer: Any, weights: Sequence[Array]) -> float:
    unit, proxies = length_one(rows), length_one(weights[0])
    costs = []
    for row, label in zip(unit, labels, strict=True):
        near = [math.exp(-float(sum((row - p) ** 2)) / layer.temperature) for p in proxies]
        costs.append(-math.log(near[label] / sum(near)))
    return mean(costs)


def proxy_anchor(rows: Array, labels: Array, layer: Any, weights: Sequence[Array]) -> float:
    found, pulled, pushed = cosines(rows, weights[0]), [], []
    for c in range(len(weights[0])):
        own = [found[i, c] for i in range(len(labels)) if labels[i] == c]
        others = [found[i, c] for i in range(len(labels)) if labels[i] != c]
        if own:
            total = sum(math.exp(-layer.alpha * (s - layer.margin)) for s in own)
            pulled.append(math.log(1 + total))
        pushed.append(math.log(1 + sum(math.exp(layer.alpha * (s + layer.margin)) for s in others)))
    return mean(pulled) + mean(pushed)


def soft_triple(rows: Array, labels: Array, layer: Any, weights: Sequence[Array]) -> float:
    k, unit = layer.per_class, length_one(weights[0])
    classes = len(unit) // k
    found, costs = cosines(rows, weights[0]), []
    for i, label in enumerate(labels):
        of_class = []
        for c in range(classes):
            each = [found[i, c * k + j] for j in range(k)]
            total = sum(math.exp(s / layer.gamma) for s in each)
            of_class.append(sum(math.exp(s / layer.gamma) / total * s for s in each))
        own = math.exp(layer.scale * (of_class[label] - layer.margin))
        rest = sum(math.exp(layer.scale * s) for c, s in enumerate(of_class) if c != label)
        costs.append(-math.log(own / (own + rest)))
    if k == 1:
        return mean(costs)
    spread = 0.0
    for c in range(classes):
        for s in range(k):
            for t in range(s + 1, k):
                inner = float(unit[c * k + s] @ unit[c * k + t])
                spread += math.sqrt(2 - 2 * inner)
    return mean(costs) + layer.tau * spread / (classes * k * (k - 1))


def contrastive(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    apart = euclid(rows)
    pulled = [max(0.0, apart[i, j] - layer.slack) ** 2
              for i in range(len(rows)) for j in positives_of(i, labels)]  # fmt: skip
    pushed = [(layer.margin - apart[i, j]) ** 2 for i in range(len(rows))
              for j in negatives_of(i, labels) if apart[i, j] < layer.margin]  # fmt: skip
    return mean(pulled) + mean(pushed)


def triplet(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    apart, margin = euclid(rows), layer.margin
    ways = {
        "batch-hard": batch_hard,
        "semi-hard": semi_hard,
        "easy-positive": easy_positive,
        "all": all_triplets,
        "distance-weighted": drawn,
    }
    costs = [
        max(0.0, apart[a, p] - apart[a, n] + margin)
        for a, p, n in ways[layer.mining](apart, labels, layer)
    ]
    if layer.mining in ("all", "distance-weighted"):
        costs = [cost for cost in costs if cost > 0]
    return mean(costs)


Triplets = list[tuple[int, int, int]]


def batch_hard(apart: Array, labels: Array, _: Any = None) -> Triplets:
    found = []
    for a in range(len(labels)):
        near, far = positives_of(a, labels), negatives_of(a, labels)
        if near and far:
            hardest = max(near, key=lambda j: apart[a, j])
            found.append((a, hardest, min(far, key=lambda j: apart[a, j])))
    return found


def next_negative(a: int, p: int, apart: Array, labels: Array) -> int:
    """The nearest negative that is farther than p, else the farthest."""
    others = negatives_of(a, labels)
    farther = [n for n in others if apart[a, n] > apart[a, p]]
    if farther:
        return min(farther, key=lambda j: apart[a, j])
    return max(others, key=lambda j: apart[a, j])


def semi_hard(apart: Array, labels: Array, _: Any = None) -> Triplets:
    return [
        (a, p, next_negative(a, p, apart, labels))
        for a in range(len(labels))
        for p in positives_of(a, labels)
        if negatives_of(a, labels)
    ]


def easy_positive(apart: Array, labels: Array, _: Any = None) -> Triplets:
    found = []
    for a in range(len(labels)):
        if positives_of(a, labels) and negatives_of(a, labels):
            p = min(positives_of(a, labels), key=lambda j: apart[a, j])
            found.append((a, p, next_negative(a, p, apart, labels)))
    return found


def all_triplets(_: Array, labels: Array, __: Any = None) -> Triplets:
    return [
        (a, p, n)
        for a in range(len(labels))
        for p in positives_of(a, labels)
        for n in negatives_of(a, labels)
    ]


def drawn(apart: Array, labels: Array, layer: Any) -> Triplets:
    """The draws of a layer that has not drawn yet: the same seed gives the same."""
    same = labels[:, None] == labels[None, :]
    weights = np.array([[sphere_log_weight(d, DIMS) for d in row] for row in apart])
    chosen, _ = mining.distance_weighted(
        keras.ops.convert_to_tensor(weights.astype(np.float32)),
        keras.ops.convert_to_tensor(same & ~np.eye(len(labels), dtype=bool)),
        keras.ops.convert_to_tensor(~same),
        keras.random.SeedGenerator(layer.seed),
    )
    chosen = keras.ops.convert_to_numpy(chosen)
    return [
        (a, p, int(chosen[a, p]))
        for a in range(len(labels))
        for p in positives_of(a, labels)
        if negatives_of(a, labels)
    ]


def sphere_log_weight(distance: float, dims: int) -> float:
    d = min(max(distance, 0.5), 1.4)
    return -((dims - 2) * math.log(d) + (dims - 3) / 2 * math.log(1 - d * d / 4))


def n_pair(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    costs = []
    for a in range(len(rows)):
        for p in positives_of(a, labels):
            total = sum(
                math.exp(float(rows[a] @ rows[n]) - float(rows[a] @ rows[p]))
                for n in negatives_of(a, labels)
            )
            costs.append(math.log(1 + total))
    return mean(costs) + layer.l2 * mean([float(row @ row) for row in rows])


def nt_xent(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    found, costs = cosines(rows, rows) / layer.temperature, []
    for a in range(len(rows)):
        rest = sum(math.exp(found[a, n]) for n in negatives_of(a, labels))
        for p in positives_of(a, labels):
            own = math.exp(found[a, p])
            costs.append(-math.log(own / (own + rest)))
    return mean(costs)


def supcon(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    found, costs = cosines(rows, rows) / layer.temperature, []
    for a in range(len(rows)):
        total = sum(math.exp(found[a, x]) for x in range(len(rows)) if x != a)
        near = positives_of(a, labels)
        if near:
            costs.append(-mean([math.log(math.exp(found[a, p]) / total) for p in near]))
    return mean(costs)


def multi_similarity(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    found, costs = cosines(rows, rows), []
    for a in range(len(rows)):
        near, far = positives_of(a, labels), negatives_of(a, labels)
        if not near or not far:
            continue
        least, most = min(found[a, p] for p in near), max(found[a, n] for n in far)
        kept = [found[a, p] for p in near if found[a, p] < most + layer.margin]
        others = [found[a, n] for n in far if found[a, n] > least - layer.margin]
        pulled = sum(math.exp(-layer.alpha * (s - layer.base)) for s in kept)
        pushed = sum(math.exp(layer.beta * (s - layer.base)) for s in others)
        costs.append(math.log(1 + pulled) / layer.alpha + math.log(1 + pushed) / layer.beta)
    return mean(costs)


def circle(
    rows: Array, labels: Array, layer: Any, _: Sequence[Array], frozen: Array | None = None
) -> float:
    """`frozen`: the embeddings that the weights α are of, where they are constant."""
    found, costs, m = cosines(rows, rows), [], layer.margin
    held = found if frozen is None else cosines(frozen, frozen)
    for a in range(len(rows)):
        near, far = positives_of(a, labels), negatives_of(a, labels)
        if near and far:
            pull = sum(math.exp(-layer.gamma * max(0, 1 + m - held[a, p]) * (found[a, p] - 1 + m))
                       for p in near)  # fmt: skip
            push = sum(math.exp(layer.gamma * max(0, held[a, n] + m) * (found[a, n] - m))
                       for n in far)  # fmt: skip
            costs.append(math.log(1 + pull * push))
    return mean(costs)


def smooth_ap(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    found, costs = cosines(rows, rows), []
    for a in range(len(rows)):
        near, precisions = positives_of(a, labels), []
        for i in near:

            def before(js: list[int], a: int = a, i: int = i) -> float:
                return sum(
                    sigmoid((found[a, j] - found[a, i]) / layer.temperature) for j in js if j != i
                )

            above = 1 + before(near)
            precisions.append(above / (above + before(negatives_of(a, labels))))
        if near:
            costs.append(1 - mean(precisions))
    return mean(costs)


def recall_at_k(rows: Array, labels: Array, layer: Any, _: Sequence[Array]) -> float:
    found, costs = cosines(rows, rows), []
    ks = [k for k in (1, 2, 4, 8, 16, 32) if k <= layer.largest_k]
    for a in range(len(rows)):
        near = positives_of(a, labels)
        if not near:
            continue
        recalls = []
        for k in ks:
            within = 0.0
            for i in near:
                rank = 1 + sum(
                    sigmoid((found[a, j] - found[a, i]) / layer.temperature)
                    for j in range(len(rows))
                    if j not in (a, i)
                )
                within += sigmoid((k - rank) / layer.rank_temperature)
            recalls.append(min(within, k) / min(k, len(near)))
        costs.append(1 - mean(recalls))
    return mean(costs)


LOOPS: dict[str, Loop] = {
    "softmax": softmax,
    "normalised-softmax": normalised_softmax,
    "cosface": cosface,
    "arcface": arcface,
    "proxy-nca++": proxy_nca,
    "proxy-anchor": proxy_anchor,
    "soft-triple": soft_triple,
    "contrastive": contrastive,
    "triplet": triplet,
    "n-pair": n_pair,
    "multi-similarity": multi_similarity,
    "circle": circle,
    "supcon": supcon,
    "nt-xent": nt_xent,
    "smooth-ap": smooth_ap,
    "recall-at-k": recall_at_k,
}
