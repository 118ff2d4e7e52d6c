"""The networks of the field's history that are our own code: none comes with weights.

Each is in the file of its name, as published; all may be trained (`cbir train`), cut and saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbir.backbones import alexnet, googlenet, lenet, resnet, senet, zfnet
from cbir.errors import EmbedderError, WeightsError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class Historic:
    """One network: `make` builds its layers up to the classifier on a scaled tensor (n, s, s, 3).

    `dims` of its pooled output, `size` of the published input, `parameters` at that size without
    the classifier, `mode` of preprocessing, `dropout` before the classifier.
    """

    make: Callable[[Any], Any]
    dims: int
    size: int
    parameters: int
    mode: str
    dropout: float = 0.0


HISTORIC: Mapping[str, Historic] = {
    "lenet5": Historic(lenet.lenet5, 84, 32, 60_856, "lenet"),
    "alexnet": Historic(alexnet.alexnet, 4096, 227, 56_868_224, "mean", alexnet.DROPOUT),
    "zfnet": Historic(zfnet.zfnet, 4096, 224, 58_260_608, "mean", zfnet.DROPOUT),
    "googlenet": Historic(googlenet.googlenet, 1024, 224, 5_973_552, "mean", googlenet.DROPOUT),
    "resnet18": Historic(resnet.resnet18, 512, 224, 11_186_112, "torch"),
    "resnet20": Historic(resnet.resnet20, 64, 32, 270_448, "torch"),
    "se-resnet18": Historic(senet.se_resnet18, 512, 224, 11_275_192, "torch"),
    "se-resnet50": Historic(senet.se_resnet50, 2048, 224, 26_092_144, "torch"),
}


def build(name: str, size: int, weights: str | None) -> keras.Model:
    """A network up to its classifier, for scaled float input; `weights`: None or a file's path.

    Raises EmbedderError for a size that it does not take, WeightsError where weights do not fit.
    """
    import keras

    start = keras.Input((size, size, 3), name="scaled")
    try:
        model = keras.Model(start, HISTORIC[name].make(start))
    except ValueError as error:
        raise EmbedderError(
            f"{name} at {size} px: expected a larger input, such as its own of "
            f"{HISTORIC[name].size} px ({_line(error)})."
        ) from None
    if weights is not None:
        try:
            model.load_weights(weights)
        except Exception as error:  # h5py, Keras and the file system each have their own
            raise WeightsError(
                f"{weights}: expected weights of {name} without its classifier, as Keras writes "
                f"them (.weights.h5); {_line(error)}"
            ) from None
    return model


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
