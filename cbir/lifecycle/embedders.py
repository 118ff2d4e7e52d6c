"""Which embedder an index uses, and that it is never another by accident."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from cbir.catalog import Catalog, CatalogWriter, EmbedderRow
from cbir.config import (
    DEFAULT_EMBEDDER,
    EmbedderSpec,
    FeatureExtractor,
    Precision,
    ResizePolicy,
)
from cbir.errors import IndexIncompatibleError
from cbir.lifecycle.precision import Settled, Wanted, record, settle
from cbir.query import own_embedder, saved_folder
from cbir.query.examples import SAVED, SAVED_ALONE, saved_as


@dataclass(frozen=True, slots=True)
class EmbedderRequest:
    """What a user asks for: a backbone's name or the folder of a saved embedder, and how.

    Without a name: the index's own backbone, the default one for a new index. `precision`: None for
    the index's own, f32 for a new index. `spec` and `load` are of what is saved (f32, as a rule):
    a precision is settled on the pictures of an index (`cbir.lifecycle.precision`).
    """

    name: str | None = None
    cut: str = ""
    input_size: int | None = None
    resize: ResizePolicy | None = None
    weights_file: str | None = None
    precision: Wanted | None = None

    def spec(self) -> EmbedderSpec:
        """The embedder's settings, without loading it."""
        from cbir.embed import resolve_spec

        return resolve_spec(
            self.name or DEFAULT_EMBEDDER,
            cut=self.cut,
            input_size=self.input_size,
            resize=self.resize,
            weights_file=self.weights_file,
        )

    def load(self) -> FeatureExtractor:
        """The embedder itself (imports TensorFlow, but where it is compiled already)."""
        from cbir.embed import Embedder, compiled_stock

        if self.name is not None and os.path.isdir(self.name):
            return Embedder.load(self.name)
        plain = self.weights_file is None and self.precision in (None, "f32")
        if plain and (found := compiled_stock(self.spec())) is not None:
            return found
        return Embedder.from_spec(self.spec(), weights_file=self.weights_file)


class IndexEmbedder:
    """The embedder of an index while it is written: loaded on first need, checked, recorded.

    `asked` is what the caller wants: None for the index's own (the default one for a new index).
    """

    def __init__(
        self, catalog: CatalogWriter, asked: EmbedderRequest | FeatureExtractor | None
    ) -> None:
        """Raises IndexIncompatibleError where the index was made by another embedder."""
        self._catalog = catalog
        self._request = asked if isinstance(asked, EmbedderRequest) else None
        self._given = asked is not None
        self._loaded: FeatureExtractor | None = None
        if asked is not None and not isinstance(asked, EmbedderRequest):
            self._loaded = asked
        row = catalog.embedder()
        if self._request is not None and self._request.name is None and row is not None:
            own = EmbedderSpec.from_dict(json.loads(row.spec))
            size = self._request.input_size or own.input_size
            self._request = replace(self._request, name=own.backbone, input_size=size)
        if self._loaded is not None:
            self.spec = self._loaded.spec
        elif self._request is not None:
            self.spec = self._request.spec()
        elif row is not None:
            self.spec = EmbedderSpec.from_dict(json.loads(row.spec))
        else:
            self._request = EmbedderRequest()
            self.spec = self._request.spec()
        if row is not None and self._given:
            own = EmbedderSpec.from_dict(json.loads(row.spec))
            self._settle_as(own)
            self._check(own)
            if self.spec.carried or self._loaded is not None:
                self.get()

    def _settle_as(self, own: EmbedderSpec) -> None:
        """The index has a precision already: it stays, where no other one is asked for."""
        asked = None if self._request is None else self._request.precision
        if self._request is None or asked not in (None, "auto", own.precision):
            if asked is not None:
                self.spec = replace(self.spec, precision=cast(Precision, asked), quantised="")
            return
        if own.precision != "f32":
            self.spec = replace(self.spec, precision=own.precision, quantised=own.quantised)
            if own == self.spec:
                self._request = None  # its own embedder is that one, quantised as it was

    @property
    def unsettled(self) -> Wanted | None:
        """The precision that is to be settled on pictures before anything is embedded."""
        if self._request is None or self._catalog.embedder() is not None:
            return None
        return None if self._request.precision in (None, "f32") else self._request.precision

    def settle(self, paths: Sequence[str], advance: Callable[[int], None]) -> Settled:
        """Load the embedder in the precision that was asked for, or that measurement chooses on
        these files; how it was chosen is recorded in the index."""
        assert self._request is not None
        wanted = self._request.precision or "f32"
        found = settle(self._request.load(), wanted, paths, advance)
        self._loaded, self.spec = found.embedder, found.embedder.spec
        record(self._catalog, found)
        return found

    @property
    def notes(self) -> list[str]:
        """What did not go as chosen, such as a network that could not be compiled."""
        return list(getattr(self._loaded, "notes", ()))

    @property
    def run_by(self) -> str:
        """What runs the network, for people; "" where it has none, or none was loaded."""
        return str(getattr(getattr(self._loaded, "run_by", None), "name", ""))

    def _check(self, own: EmbedderSpec) -> None:
        if own != self.spec:
            raise refusal(self._catalog, describe(own), describe(self.spec))

    def get(self) -> FeatureExtractor:
        """The embedder, loaded; on first use its fingerprint is checked or recorded."""
        row = self._catalog.embedder()
        if self._loaded is None:
            if self._request is not None:
                self._loaded = self._request.load()
            elif row is not None:
                self._loaded = own_embedder(self._catalog.index, row)
        assert self._loaded is not None
        if row is None:
            self._record(self._loaded)
        elif row.fingerprint != self._loaded.fingerprint:
            raise refusal(
                self._catalog,
                f"weights {row.fingerprint}",
                f"the same settings with weights {self._loaded.fingerprint}",
            )
        return self._loaded

    def _record(self, embedder: FeatureExtractor) -> None:
        """Write which embedder the index has; one that is not stock is saved with it."""
        keep_embedder(self._catalog.index, embedder)
        with self._catalog.writing():
            self._catalog.add_embedder(
                embedder.fingerprint, embedder.spec.canonical(), embedder.feature_dims
            )
            self._catalog.set("embedder", embedder.fingerprint)


def keep_embedder(index: str, embedder: FeatureExtractor) -> None:
    """Save an embedder with its index, where it is not a stock one and not there yet."""
    save = getattr(embedder, "save", None)
    if save is None or getattr(embedder, "is_stock", True):
        return
    if saved_folder(index, embedder.fingerprint) is None:
        os.makedirs(os.path.join(index, SAVED), exist_ok=True)
        save(os.path.join(index, SAVED, embedder.fingerprint))


def drop_saved(index: str, kept: Iterable[str]) -> list[str]:
    """Remove saved embedders but for these fingerprints; what was removed.

    The folder of an index with one embedder (`embedder/`) goes where its embedder does.
    """
    folder, alone = os.path.join(index, SAVED), os.path.join(index, SAVED_ALONE)
    stay = set(kept)
    gone = []
    if os.path.isdir(folder):
        gone += [os.path.join(folder, name) for name in os.listdir(folder) if name not in stay]
    if saved_as(alone) not in {"", *stay}:  # one that cannot be read is left to its owner
        gone.append(alone)
    for place in gone:
        shutil.rmtree(place, ignore_errors=True)
    return gone


def unknown(catalog: Catalog, row: EmbedderRow) -> str:
    """Why an embedder cannot be had here, "" where it can; nothing is loaded for it."""
    from cbir.backbones import names

    if saved_folder(catalog.index, row.fingerprint) is not None:
        return ""
    alone = os.path.join(catalog.index, SAVED_ALONE)
    if os.path.isdir(alone) and saved_as(alone) not in {e.fingerprint for e in catalog.embedders()}:
        return f"the index has {row.fingerprint}, its embedder folder another one"
    spec = EmbedderSpec.from_dict(json.loads(row.spec))
    if spec.carried or spec.backbone not in names():
        return f"{spec.backbone} with weights {spec.weights}: {row.fingerprint}"
    return ""


def describe(spec: EmbedderSpec) -> str:
    """An embedder in a few words: "efficientnet-lite0 (imagenet, 224 px, squash)"."""
    cut = f", cut at {spec.cut}" if spec.cut else ""
    precision = "" if spec.precision == "f32" else f", {spec.precision}"
    return f"{spec.backbone} ({spec.weights}, {spec.input_size} px, {spec.resize}{cut}{precision})"


def refusal(catalog: Catalog, own: str, asked: str) -> IndexIncompatibleError:
    """The error for another embedder: features of two embedders cannot be compared."""
    return IndexIncompatibleError(
        f"{catalog.index} was made with {own}; received {asked}. To keep that index, leave out "
        "--embedder and its options. To move it to the other embedder: `cbir adopt EMBEDDER -i "
        "INDEX`, which compares both first. To have both: `cbir index FOLDER -i OTHER --embedder "
        "EMBEDDER`."
    )
