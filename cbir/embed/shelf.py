"""Own embedders on this machine: which folders hold one, and what each says of itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cbir.config import EmbedderSpec
from cbir.embed.card import ModelCard
from cbir.embed.package import CARD, MODEL, read_card, read_description, read_spec
from cbir.errors import EmbedderError, UsageError
from cbir.types import Failure

VARIABLE = "CBIR_EMBEDDERS"
DEFAULT = "embedders"


@dataclass(frozen=True, slots=True)
class OwnEmbedder:
    """A saved embedder: its folder, and what `embedder.json` says. Nothing was loaded for it.

    `parameters` is None where the folder does not say (it was saved by an older cbir).
    """

    name: str
    folder: str
    spec: EmbedderSpec
    fingerprint: str
    feature_dims: int
    parameters: int | None
    card: ModelCard | None


def places(named: Sequence[str] = ()) -> list[str]:
    """Where own embedders are looked for: the named folders, else those of $CBIR_EMBEDDERS, else
    `embedders/` in the current folder, where it is there.

    Raises UsageError for a named folder that is not there.
    """
    for folder in named:
        if not os.path.isdir(folder):
            raise UsageError(f"--in: expected a folder with embedders; there is none at {folder}.")
    if named:
        return list(named)
    listed = [p for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p]
    return [p for p in listed or [DEFAULT] if os.path.isdir(p)]


def is_embedder(folder: str) -> bool:
    """Whether a folder holds a saved embedder, sound or not."""
    return os.path.isfile(os.path.join(folder, CARD))


def own_embedders(folders: Iterable[str]) -> tuple[list[OwnEmbedder], list[Failure]]:
    """The embedders in these folders, or right below them, by name; and which cannot be read."""
    found: dict[str, OwnEmbedder] = {}
    failures: list[Failure] = []
    for folder in folders:
        inside = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        for place in [folder, *inside]:
            if not is_embedder(place) or os.path.realpath(place) in found:
                continue
            try:
                found[os.path.realpath(place)] = read_own(place)
            except EmbedderError as error:
                failures.append(Failure(place, str(error)))
    return sorted(found.values(), key=lambda own: (own.name, own.folder)), failures


def read_own(folder: str) -> OwnEmbedder:
    """What a folder says of the embedder in it; EmbedderError where it holds none."""
    description: dict[str, Any] = read_description(folder)
    if not os.path.isfile(os.path.join(folder, MODEL)):
        raise EmbedderError(
            f"{folder} has no {MODEL} beside its {CARD}: the embedder cannot be loaded. Restore "
            "that file, or remove the folder."
        )
    return OwnEmbedder(
        name=os.path.basename(os.path.realpath(folder)),
        folder=folder,
        spec=read_spec(folder),
        fingerprint=str(description["fingerprint"]),
        feature_dims=int(description.get("feature_dims") or 0),
        parameters=description.get("parameters"),
        card=read_card(folder),
    )
