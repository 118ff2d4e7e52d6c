"""The model card: what an embedder was made from, on what, how, and what it gained.

After Mitchell et al., Model cards for model reporting (FAT* 2019), section 4, as far as a program
can fill it in. It is a part of `embedder.json` (key `training`), and `README.md` is made from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from cbir.config import EmbedderSpec, Settings
from cbir.errors import UsageError

DATA = ("source", "images", "classes", "near_duplicates", "skipped", "labels")
SPLIT = ("images", "classes", "where")
FIGURE = ("before", "after", "difference", "interval")
VERSIONS = ("cbir", "keras", "backend", "tensorflow", "jax", "torch", "numpy", "python")


@dataclass(frozen=True, slots=True)
class ModelCard(Settings):
    """How an embedder was made. All values are plain: texts, numbers, lists, mappings.

    title             one line for people
    base              the embedder it was made from, in words, e.g. that of `describe`
    base_fingerprint  and its fingerprint; "" where it began with random weights
    licence           of the base's weights
    data              `source` (a name, no path), `images`, `classes`, `near_duplicates` (how many
                      were left out), `skipped` (files that could not be used), `labels`
    splits            name → `images`, `classes`, `where`
    recipe            every setting of the training, by its name; `seed` among them
    figures           name of a split → metric → `before`, `after`, `difference`, `interval` (95 %,
                      paired, of the difference: [low, high])
    seconds           how long it took
    versions          of cbir, keras, its backend, ...
    created           date, ISO 8601
    """

    title: str
    base: str
    base_fingerprint: str
    licence: str
    data: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    recipe: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, Mapping[str, Any]]]
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = field(default_factory=lambda: date.today().isoformat())

    def __post_init__(self) -> None:
        """Raises UsageError for other keys, or values that JSON cannot hold."""
        for name in ("title", "base", "base_fingerprint", "licence", "created"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(
                    f"{name}: expected text; received {type(getattr(self, name)).__name__}."
                )
        for name in ("data", "splits", "recipe", "figures", "versions"):
            _mapping(name, getattr(self, name))
        _known("data", self.data, DATA)
        _known("versions", self.versions, VERSIONS)
        for split, facts in self.splits.items():
            _known(f"splits.{split}", facts, SPLIT)
        for split, metrics in self.figures.items():
            for metric, values in _mapping(f"figures.{split}", metrics).items():
                _known(f"figures.{split}.{metric}", values, FIGURE)
        if "seed" not in self.recipe:
            raise UsageError("recipe: expected the key seed among its settings; received none.")
        try:
            plain = json.loads(json.dumps(self.to_dict(), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise UsageError(f"ModelCard: expected values that JSON can hold; {error}.") from None
        for name, value in plain.items():  # as JSON has them: a card that was read equals its own
            object.__setattr__(self, name, value)

    def headline(self) -> dict[str, dict[str, Any]]:
        """Metric → its values, of the first split that has figures; empty where none has."""
        return {
            name: dict(values) for name, values in next(iter(self.figures.values()), {}).items()
        }


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{name}: expected a mapping with text as keys; received {value!r}.")
    return value


def _known(name: str, value: object, keys: tuple[str, ...]) -> None:
    unknown = sorted(set(_mapping(name, value)) - set(keys))
    if unknown:
        raise UsageError(
            f"{name}: expected the keys {', '.join(keys)}; received also {', '.join(unknown)}. It "
            "was perhaps written by a newer cbir: update cbir."
        )


def readme(
    spec: EmbedderSpec, fingerprint: str, feature_dims: int, made_with: Mapping[str, str],
    card: ModelCard | None,
) -> str:  # fmt: skip
    """The card for people: Markdown, made from what `embedder.json` says."""
    title = card.title if card is not None else f"Embedder from {spec.backbone}"
    parts = [f"# {_plain(title)}", _made_of(spec, fingerprint, feature_dims, made_with)]
    if card is not None:
        parts += [
            _table("Made from", {
                "base": card.base, "fingerprint of the base": card.base_fingerprint or "-",
                "licence of the base's weights": card.licence, "date": card.created,
                "seconds": card.seconds,
                "versions": ", ".join(f"{k} {v}" for k, v in card.versions.items()) or "-",
            }),
            _table("Data", card.data),
            *(_table(f"Split: {name}", facts) for name, facts in card.splits.items()),
            *(_figures(name, metrics) for name, metrics in card.figures.items()),
            _table("Recipe", card.recipe),
        ]  # fmt: skip
    parts.append(
        "## Use\n```\ncbir adopt THIS_FOLDER -i INDEX\ncbir index FOLDER -i INDEX --embedder "
        "THIS_FOLDER\ncbir benchmark recall FOLDER --embedder THIS_FOLDER\n```\n"
        "Written by cbir from `embedder.json`, which counts."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _made_of(
    spec: EmbedderSpec, fingerprint: str, feature_dims: int, made_with: Mapping[str, str]
) -> str:
    return _table("Embedder", {
        "backbone": spec.backbone, "weights": spec.weights, "cut": spec.cut or "last layer",
        "pooling": spec.pooling,
        "input": f"{spec.input_size} x {spec.input_size} pixels, {spec.resize}",
        "feature": f"{feature_dims} numbers", "fingerprint": fingerprint,
        "saved with": ", ".join(f"{k} {v}" for k, v in made_with.items()),
    })  # fmt: skip


def _table(title: str, facts: Mapping[str, Any]) -> str:
    if not facts:
        return ""
    rows = [f"| {_plain(name)} | {_plain(_said(value))} |" for name, value in facts.items()]
    return "\n".join([f"## {_plain(title)}", "| | |", "|---|---|", *rows])


def _figures(split: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Before and after, with the interval of the difference."""
    rows = [
        f"| {_plain(name)} | " + " | ".join(_number(values.get(key)) for key in FIGURE) + " |"
        for name, values in metrics.items()
    ]
    head = [f"## Figures: {_plain(split)}", "| metric | before | after | difference | 95 % |",
            "|---|---|---|---|---|"]  # fmt: skip
    return "\n".join([*head, *rows]) if rows else ""


def _number(value: object) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(_number(one) for one in value)
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _said(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_said(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_said(one) for one in value)
    return json.dumps(value)


def _plain(text: str) -> str:
    """Text that makes no Markdown of its own: one line, no table or tag begun."""
    known = str(text).encode("utf-8", "replace").decode()  # names of files need not be Unicode
    return " ".join(known.split()).replace("|", "\\|").replace("<", "&lt;")
