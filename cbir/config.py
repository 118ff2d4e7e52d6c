"""Settings: frozen, validated, stored whole with what they made, unknown keys rejected.

And `FeatureExtractor`: what every embedder gives, whatever its settings.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, get_args

from cbir.errors import UsageError
from cbir.types import Pixels, Vectors

ResizePolicy = Literal["squash", "crop", "pad"]
ProjectionKind = Literal["pca", "none"]
IndexKind = Literal["auto", "flat", "hnsw", "ivf", "pq"]
ComparedKind = Literal["flat"]
"""Index kinds that `cbir benchmark compare` knows: it ranks exactly. What an approximate kind loses
is measured on the index itself, when it is made."""
Precision = Literal["f32", "bf16", "int8"]
RuntimeName = Literal["auto", "keras", "openvino"]

DECODING = "pillow-1"
"""Name of the decoding recipe (images/decode.py). It is part of every fingerprint: change the
recipe and its name together."""

DEFAULT_EMBEDDER = "efficientnet-lite0"


class Settings:
    """What all settings share: JSON to and from, with unknown keys rejected."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]

    def canonical(self) -> str:
        """One exact text: sorted keys, no white space. Equal settings give equal texts."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; UsageError where keys are unknown or missing."""
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(data) - names)
        if unknown:
            raise UsageError(
                f"{cls.__name__}: expected the keys {', '.join(sorted(names))}; received also "
                f"{', '.join(unknown)}. It was perhaps written by a newer cbir: update cbir."
            )
        try:
            return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})
        except TypeError as error:
            raise UsageError(f"{cls.__name__}: {error}") from None


@dataclass(frozen=True, slots=True)
class EmbedderSpec(Settings):
    """Everything that makes a feature from a file, but for the arrays.

    backbone    a name of the registry, e.g. "efficientnet-lite0"
    weights     "imagenet", "file" (given by the user), "trained" (by cbir) or "random:SEED"
    cut         layer whose output is pooled; "" = the last one before the classifier
    pooling     "gap" (global average pooling)
    input_size  side of the square input, pixels
    resize      how a picture becomes square: squash | crop | pad
    decoding    name of the decoding recipe
    precision   what the network is computed in: f32, bf16 or int8
    quantised   with int8: hash of the quantised network, which is a part of the embedder
    """

    backbone: str = DEFAULT_EMBEDDER
    weights: str = "imagenet"
    cut: str = ""
    pooling: str = "gap"
    input_size: int = 224
    resize: ResizePolicy = "squash"
    decoding: str = DECODING
    precision: Precision = "f32"
    quantised: str = ""

    @property
    def carried(self) -> bool:
        """Whether its arrays are in the saved embedder only: settings do not make it again."""
        return self.weights in ("file", "trained") or self.precision == "int8"

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values; the last two only where they say something, so that the
        fingerprints of what was made before they came stay."""
        made = Settings.to_dict(self)
        if self.precision == "f32":
            del made["precision"]
        if not self.quantised:
            del made["quantised"]
        return made

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UsageError(
                f"precision: expected one of {', '.join(get_args(Precision))}; received "
                f"{self.precision!r}."
            )
        if self.resize not in get_args(ResizePolicy):
            raise UsageError(
                f"resize: expected one of {', '.join(get_args(ResizePolicy))}; "
                f"received {self.resize!r}."
            )
        if not 8 <= self.input_size <= 4096:
            raise UsageError(f"input_size: expected 8 to 4096 pixels; received {self.input_size}.")


@dataclass(frozen=True, slots=True)
class IndexSpec(Settings):
    """How the derived state of an index is made from its features.

    dims        length of an embedding, at most (fewer where the gallery is small)
    projection  "pca" (mean subtracted, leading principal components, no whitening) or "none"
    kind        "flat": exact search; "hnsw", "ivf", "pq": approximate (index/planner.py); "auto":
                whichever is right for the gallery's size and what follows
    seed        of the samples that the projection is fitted on and searches are tuned on
    recall      index recall@10 that an approximate kind is tuned to, above 0, at most 1
    memory      bytes that the index may take while it is searched; None: half of the machine's
    latency_ms  ms of one query up to which "auto" stays exact
    """

    dims: int = 256
    projection: ProjectionKind = "pca"
    kind: IndexKind = "auto"
    seed: int = 0
    recall: float = 0.98
    memory: int | None = None
    latency_ms: float = 25.0

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values; the last three only where they are not the usual ones, so
        that what was made before they came stays the same."""
        made = Settings.to_dict(self)
        for name in ("recall", "memory", "latency_ms"):
            if made[name] == type(self).__dataclass_fields__[name].default:
                del made[name]
        return made

    def __post_init__(self) -> None:
        if not 1 <= self.dims <= 65536:
            raise UsageError(f"dims: expected 1 to 65536; received {self.dims}.")
        if self.projection not in get_args(ProjectionKind):
            raise UsageError(
                f"projection: expected one of {', '.join(get_args(ProjectionKind))}; "
                f"received {self.projection!r}."
            )
        if self.kind not in get_args(IndexKind):
            raise UsageError(
                f"kind: expected one of {', '.join(get_args(IndexKind))}; received {self.kind!r}."
            )
        if not 0 < self.recall <= 1:
            raise UsageError(f"recall: expected above 0, at most 1; received {self.recall}.")
        if self.memory is not None and self.memory < 1:
            raise UsageError(f"memory: expected at least 1 byte; received {self.memory}.")
        if not self.latency_ms > 0:
            raise UsageError(f"latency_ms: expected more than 0 ms; received {self.latency_ms}.")


@dataclass(frozen=True, slots=True)
class QuerySpec(Settings):
    """What is asked of a search.

    k           how many hits, at least 1
    min_score   hits below this cosine are left out; None: none are
    min_match   hits whose match (0 to 1) is below are left out; None: none are
    where       terms, and-ed: column=value[,value...] column!=value column>=number path~GLOB
    keep_self   keep the queried image itself among the hits
    """

    k: int = 10
    min_score: float | None = None
    where: tuple[str, ...] = ()
    keep_self: bool = False
    min_match: float | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k: expected at least 1; received {self.k}.")
        if self.min_score is not None and not -1.0 <= self.min_score <= 1.0:
            raise UsageError(f"min_score: expected -1 to 1; received {self.min_score}.")
        if self.min_match is not None and not 0.0 <= self.min_match <= 1.0:
            raise UsageError(f"min_match: expected 0 to 1; received {self.min_match}.")


@dataclass(frozen=True, slots=True)
class RuntimeChoice(Settings):
    """What runs a network. It changes how fast features come, not what they are.

    runtime  keras; openvino (compiled for this processor); auto: openvino on a processor where the
             package is installed, else keras
    device   cpu; gpu or gpu:N (by Keras); auto: a GPU where Keras finds one, else the processor
    """

    runtime: RuntimeName = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.runtime not in get_args(RuntimeName):
            raise UsageError(
                f"runtime: expected one of {', '.join(get_args(RuntimeName))}; received "
                f"{self.runtime!r}."
            )
        kind, colon, number = self.device.partition(":")
        if kind not in ("auto", "cpu", "gpu") or (
            colon and (kind != "gpu" or not number.isdigit())
        ):
            raise UsageError(f"device: expected auto, cpu, gpu or gpu:N; received {self.device!r}.")
        if self.runtime == "openvino" and kind == "gpu":
            raise UsageError(
                "device: the runtime openvino computes on the processor; received "
                f"{self.device!r} beside it. Leave one of the two out."
            )


_choice: list[RuntimeChoice] = []


def runtime_choice() -> RuntimeChoice:
    """What runs networks in this process: what `using_runtime` says, else $CBIR_RUNTIME and
    $CBIR_DEVICE, else auto.

    Raises UsageError where a variable has another value.
    """
    if _choice:
        return _choice[-1]
    named = {"runtime": os.environ.get("CBIR_RUNTIME"), "device": os.environ.get("CBIR_DEVICE")}
    return RuntimeChoice.from_dict({name: value for name, value in named.items() if value})


@contextmanager
def using_runtime(choice: RuntimeChoice) -> Iterator[None]:
    """Embedders that are made within are run so."""
    _choice.append(choice)
    try:
        yield
    finally:
        _choice.pop()


class FeatureExtractor(Protocol):
    """What indexing needs of an embedder; the Keras `Embedder` and the classical ones give it."""

    @property
    def spec(self) -> EmbedderSpec:
        """All settings that made it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the canonical spec and of the arrays."""
        ...

    @property
    def feature_dims(self) -> int:
        """f, the length of a feature."""
        ...

    def features(self, pixels: Pixels) -> Vectors:
        """Uint8 (n, s, s, 3) → float32 (n, f), raw: neither centred nor of unit length."""
        ...
