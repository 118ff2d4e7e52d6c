"""All losses in one table: what each is, where it is from, what may be set. Free of Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind = Literal["pair", "proxy", "classification", "ranking"]
Value: TypeAlias = "float | str"


@dataclass(frozen=True, slots=True)
class Option:
    """A setting of a loss: a number between `low` and `high`, or one of `choices`.

    `open_low`: `low` itself is not allowed. A default that is an int takes whole numbers only.
    """

    name: str
    default: Value
    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """For people: "0 to 1", "above 0", "batch-hard, semi-hard, ..."."""
        if self.choices:
            return ", ".join(self.choices)
        whole = "whole numbers, " if isinstance(self.default, int) else ""
        if math.isinf(self.high):
            return f"{whole}{'above' if self.open_low else 'at least'} {self.low:g}"
        return f"{whole}{'above ' if self.open_low else ''}{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class LossInfo:
    """A loss: `module` and `class_name` say where its layer is; `paper` is one line.

    kind   pair: pairs or triplets of the batch; ranking: a whole ranking of it; proxy: weights
           that stand for classes; classification: a classifier's weights
    cubic  it takes n x m x m numbers for n anchors and m references
    """

    name: str
    module: str
    class_name: str
    kind: Kind
    text: str
    paper: str
    options: tuple[Option, ...] = ()
    cubic: bool = False

    @property
    def remembers(self) -> bool:
        """Whether a cross-batch memory can join it."""
        return self.kind in ("pair", "ranking")

    def defaults(self) -> dict[str, Value]:
        """Every option with the value that it has where none is given."""
        return {option.name: option.default for option in self.options}


MINING = ("semi-hard", "batch-hard", "distance-weighted", "easy-positive", "all")
CUBIC_MINING = ("semi-hard", "all")


def _above_zero(name: str, default: float) -> Option:
    return Option(name, default, open_low=True)


def _loss(
    name: str, class_name: str, kind: Kind, text: str, paper: str, *options: Option
) -> LossInfo:
    module = "cbir.train.losses." + name.replace("+", "").replace("-", "_")
    return LossInfo(name, module, class_name, kind, text, paper, options, kind == "ranking")


_ROWS = (
    _loss("softmax", "Softmax", "classification",
          "cross-entropy of a linear classifier on embeddings as they are",
          "Bridle, 1990; Boudiaf et al., A Unifying Mutual Information View, ECCV 2020",
          Option("smoothing", 0.0, 0, 1)),
    _loss("normalised-softmax", "NormalisedSoftmax", "classification",
          "cross-entropy of cosines with class weights",
          "Zhai and Wu, Classification is a Strong Baseline, BMVC 2019",
          _above_zero("temperature", 0.05)),
    _loss("cosface", "CosFace", "classification",
          "normalised softmax, a margin taken off the own cosine",
          "Wang et al., CosFace, CVPR 2018",
          Option("margin", 0.35, 0, 1), _above_zero("scale", 64.0)),
    _loss("arcface", "ArcFace", "classification",
          "normalised softmax, a margin added to the own angle",
          "Deng et al., ArcFace, CVPR 2019",
          Option("margin", 0.35, 0, math.pi / 2), _above_zero("scale", 64.0)),
    _loss("proxy-nca++", "ProxyNCA", "proxy",
          "the own proxy nearest, among all proxies",
          "Teh, DeVries and Taylor, ProxyNCA++, ECCV 2020",
          _above_zero("temperature", 1 / 9)),
    _loss("proxy-anchor", "ProxyAnchor", "proxy",
          "each class's proxy against the whole batch",
          "Kim et al., Proxy Anchor Loss, CVPR 2020",
          Option("margin", 0.1, 0, 1), _above_zero("alpha", 32.0)),
    _loss("soft-triple", "SoftTriple", "proxy",
          "several centres a class, softly assigned",
          "Qian et al., SoftTriple Loss, ICCV 2019",
          Option("per_class", 10, 1, 100), _above_zero("scale", 20.0), _above_zero("gamma", 0.1),
          Option("margin", 0.01, 0, 1), Option("tau", 0.2)),
    _loss("contrastive", "Contrastive", "pair",
          "positives together, negatives a margin apart",
          "Hadsell, Chopra and LeCun, Dimensionality Reduction by an Invariant Mapping, CVPR 2006",
          Option("margin", 0.5, 0, 2), Option("slack", 0.0, 0, 2)),
    _loss("triplet", "Triplet", "pair",
          "a positive nearer than a negative by a margin",
          "Schroff et al., FaceNet, CVPR 2015; Hermans et al., 2017; Wu et al., ICCV 2017",
          Option("margin", 0.2, 0, 2), Option("mining", MINING[0], choices=MINING)),
    _loss("n-pair", "NPair", "pair",
          "a positive against all negatives, on embeddings as they are",
          "Sohn, Multi-class N-pair Loss, NIPS 2016",
          Option("l2", 0.001)),
    _loss("multi-similarity", "MultiSimilarity", "pair",
          "mined pairs, each weighted by the anchor's other pairs",
          "Wang et al., Multi-Similarity Loss, CVPR 2019",
          _above_zero("alpha", 2.0), _above_zero("beta", 50.0), Option("base", 0.5, -1, 1),
          Option("margin", 0.1, 0, 2)),
    _loss("circle", "Circle", "pair",
          "all pairs of an anchor in one sum, the worst weighing most",
          "Sun et al., Circle Loss, CVPR 2020",
          Option("margin", 0.4, 0, 1), _above_zero("gamma", 80.0)),
    _loss("supcon", "SupCon", "pair",
          "each positive against all other images",
          "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020",
          _above_zero("temperature", 0.1)),
    _loss("nt-xent", "NTXent", "pair",
          "each positive against all negatives",
          "Chen et al., SimCLR, ICML 2020",
          _above_zero("temperature", 0.1)),
    _loss("smooth-ap", "SmoothAP", "ranking",
          "average precision, its ranks made smooth",
          "Brown et al., Smooth-AP, ECCV 2020",
          _above_zero("temperature", 0.01)),
    _loss("recall-at-k", "RecallAtK", "ranking",
          "relevant-recall@k, its steps made smooth",
          "Patel, Tolias and Matas, Recall@k Surrogate Loss, CVPR 2022",
          Option("largest_k", 16, 1, 1024), _above_zero("rank_temperature", 1.0),
          _above_zero("temperature", 0.01)),
)  # fmt: skip

LOSSES: Mapping[str, LossInfo] = {info.name: info for info in _ROWS}
"""Every loss by its name: classifiers, proxies, pairs, rankings."""
