"""`--augment NAME=VALUE`: random changes in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbir.images.augment import Augmentation


def augmentation(given: Sequence[str]) -> Augmentation:
    """The default changes with those named set; UsageError for one that there is not."""
    import dataclasses

    from cbir.errors import UsageError
    from cbir.images.augment import Augmentation

    names = [f.name for f in dataclasses.fields(Augmentation)]
    made = {}
    for text in given:
        name, _, value = (part.strip() for part in text.partition("="))
        try:
            made[name] = float(value)
        except ValueError:
            name = ""
        if name not in names:
            raise UsageError(
                f"--augment: expected NAME=NUMBER with one of {', '.join(names)}; received "
                f"{text!r}."
            )
    return Augmentation(**made)
