"""The systems of a comparison: every sensible combination of what can be chosen.

An axis is a list of values of one registry or setting; the grid is the product of all axes. What
would only be the same system again is left out: lengths without a projection that has a length,
and input policies for embedders that have their own (classical ones, saved ones).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from cbir.backbones import get, names, weights_state
from cbir.config import (
    DEFAULT_EMBEDDER,
    ComparedKind,
    EmbedderSpec,
    FeatureExtractor,
    IndexSpec,
    ProjectionKind,
    ResizePolicy,
)
from cbir.embed import Embedder, resolve_spec
from cbir.embed.package import read_description
from cbir.embed.pooling import POOLINGS
from cbir.errors import EmbedderError, UsageError
from cbir.evaluate.classical import CLASSICAL
from cbir.evaluate.fitting import Fittable
from cbir.images import content_hash

FLOOR = "classical/colour"
"""The floor of every table: it is measured whatever else is asked for."""

_USUAL = EmbedderSpec()


def at_hand() -> tuple[str, ...]:
    """Backbones whose weights are installed, the default first: nothing needs to be fetched."""
    here = [name for name in names() if weights_state(get(name)) == "here"]
    return tuple(sorted(here, key=lambda name: name != DEFAULT_EMBEDDER))


@dataclass(frozen=True, slots=True)
class Axes:
    """What is compared. `input_sizes` None is the backbone's own size.

    embedders are names of backbones, of `CLASSICAL`, or folders of saved embedders. `weights` has
    the weights' file of a backbone by its name, where Keras cannot fetch them.
    """

    embedders: tuple[str, ...] = field(default_factory=at_hand)
    resizes: tuple[ResizePolicy, ...] = ("squash",)
    input_sizes: tuple[int | None, ...] = (None,)
    poolings: tuple[str, ...] = ("gap",)
    dims: tuple[int, ...] = (256,)
    projections: tuple[ProjectionKind, ...] = ("pca",)
    kinds: tuple[ComparedKind, ...] = ("flat",)
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One embedder of the grid, and what is made of its features.

    `source` is the name or folder. `identity` stands for the arrays where the spec does not: the
    fingerprint of classical and saved embedders (of one that learns, its recipe), the hash of a
    weights' file, "" for a stock one. `spec` is None where it cannot be told, and `problem` says
    why.
    """

    source: str
    spec: EmbedderSpec | None
    specs: tuple[IndexSpec, ...]
    identity: str = ""
    problem: str = ""
    weights_file: str | None = None

    def load(self) -> FeatureExtractor:
        """The embedder itself (imports TensorFlow, unless it is classical).

        Raises EmbedderError, WeightsError, UsageError.
        """
        if self.spec is None:
            raise EmbedderError(self.problem)
        if self.source in CLASSICAL:
            return CLASSICAL[self.source]()
        if os.path.isdir(self.source):
            return Embedder.load(self.source)
        return Embedder.from_spec(self.spec, self.weights_file)

    @property
    def name(self) -> str:
        """The embedder in a few words: what is not said is the default."""
        if self.spec is None:
            return self.source
        if os.path.isdir(self.source):
            return f"{os.path.basename(os.path.abspath(self.source))} ({self.spec.backbone})"
        said = [self.spec.backbone]
        if self.source not in CLASSICAL:
            own = get(self.spec.backbone).input_size
            said += [f"{self.spec.input_size} px"] if self.spec.input_size != own else []
            said += [self.spec.resize] if self.spec.resize != _USUAL.resize else []
            said += [self.spec.pooling] if self.spec.pooling != _USUAL.pooling else []
        return ", ".join(said)

    @property
    def group(self) -> str:
        """The embedder whatever its input policy is."""
        saved = self.spec is None or os.path.isdir(self.source)
        return self.name if saved else self.source

    def system(self, spec: IndexSpec) -> str:
        """One system's name: "efficientnet-lite1, crop, pca 128"."""
        how = "raw" if spec.projection == "none" else f"{spec.projection} {spec.dims}"
        return ", ".join([self.name, how, *([spec.kind] if spec.kind != "flat" else [])])


def grid(axes: Axes, fitted: bool = True) -> list[Candidate]:
    """All candidates, in the order of the axes, and last the floor, where it is not among them.

    `fitted` False: the gallery is too small for a projection, so that all are the raw feature.

    Raises UsageError for an embedder that does not exist, or a value that does not fit.
    """
    specs = tuple(_index_specs(axes if fitted else replace(axes, projections=("none",))))
    found = [replace(made, specs=specs) for made in _candidates(axes)]
    raw = IndexSpec(projection="none", kind="flat")
    if not any(one.source == FLOOR and raw in one.specs for one in found):
        found += [replace(_fixed(FLOOR), specs=(raw,))]
    return found


def _index_specs(axes: Axes) -> Iterator[IndexSpec]:
    for projection, kind in product(dict.fromkeys(axes.projections), dict.fromkeys(axes.kinds)):
        lengths: Sequence[int] = tuple(dict.fromkeys(axes.dims))
        if projection == "none":
            lengths = (IndexSpec().dims,)
        for dims in lengths:
            yield IndexSpec(dims, projection, kind)


def _candidates(axes: Axes) -> Iterator[Candidate]:
    """Embedders, each once."""
    seen: set[tuple[str, EmbedderSpec | None]] = set()
    for name in axes.embedders:
        if name in CLASSICAL or os.path.isdir(name):
            options = [_fixed(name)]
        else:
            policies = product(axes.resizes, axes.input_sizes, axes.poolings)
            file = _weights(axes.weights).get(get(name).name)
            options = [_stock(name, policy, file) for policy in policies]
        for made in options:
            if (made.source, made.spec) not in seen:
                seen.add((made.source, made.spec))
                yield made


def _fixed(name: str) -> Candidate:
    """An embedder that has all its settings: a classical one, or a saved one in a folder."""
    if name in CLASSICAL:
        made = CLASSICAL[name]()
        if isinstance(made, Fittable):  # it has no fingerprint before it is fitted
            return Candidate(name, made.spec, (), made.recipe)
        return Candidate(name, made.spec, (), made.fingerprint)
    try:
        return Candidate(name, resolve_spec(name), (), read_description(name)["fingerprint"])
    except EmbedderError as error:
        return Candidate(name, None, (), problem=str(error))


def _weights(given: Mapping[str, str]) -> dict[str, str]:
    """Files by the registry's own spelling of the names."""
    return {get(name).name: file for name, file in given.items()}


def _stock(name: str, policy: tuple[ResizePolicy, int | None, str], file: str | None) -> Candidate:
    resize, size, pooling = policy
    if pooling not in POOLINGS:
        raise UsageError(f"pooling: expected one of {', '.join(POOLINGS)}; received {pooling!r}.")
    spec = resolve_spec(name, input_size=size, resize=resize, weights_file=file)
    identity = content_hash(file).hex() if file else ""
    return Candidate(spec.backbone, replace(spec, pooling=pooling), (), identity, weights_file=file)
