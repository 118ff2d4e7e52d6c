"""How each backbone of the table is built, given weights and cut. Importing it costs no Keras."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cbir.backbones.cutting import cut_layers, layer_at
from cbir.backbones.historic import HISTORIC
from cbir.backbones.table import BackboneInfo, check_published, get
from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, UsageError, WeightsError

if TYPE_CHECKING:
    import keras


def backbone(spec: EmbedderSpec, weights_file: str | None = None) -> keras.Model:
    """The backbone of an embedder up to its cut, without preprocessing, for float input.

    Raises UsageError (no such backbone or layer), WeightsError, EmbedderError.
    """
    import keras

    info = get(spec.backbone)
    seed = _seed(spec.weights)
    if spec.weights == "imagenet" and weights_file is None:
        check_published(info)
    check_keras()
    if spec.weights == "file" and weights_file is None:
        raise WeightsError(
            f"{info.name}: its weights came from a file; expected that file; received none."
        )
    if weights_file is not None and spec.weights != "file":
        raise UsageError(
            f"weights: expected no file beside weights {spec.weights!r}; received {weights_file}."
        )
    source = None if seed is not None else (weights_file or "imagenet")
    whole = whole_net(info, spec.input_size, source)
    if seed is not None:
        randomise(whole, seed)
    output = whole.output if not spec.cut else layer_at(whole, spec.cut, info.name).output
    return keras.Model(whole.input, output, name=info.name.replace("-", "_"))


def whole_net(
    info: BackboneInfo, size: int, source: str | None, seed: int | None = None
) -> keras.Model:
    """A backbone up to its classifier, for float input (n, size, size, 3).

    `source`: None (initial weights, drawn from `seed` where it is given), "imagenet", or a file.
    Python's random numbers stay as they are. Raises WeightsError, EmbedderError.
    """
    with random_state_kept(seed):
        if info.factory:
            from cbir.backbones.applications import make

            return make(info.factory, size, source)
        if info.name in HISTORIC:
            from cbir.backbones.historic import build

            return build(info.name, size, source)
        return _lite(info.name, size, source)


def check_keras() -> None:
    """Raise EmbedderError where Keras is set to what changes features and no fingerprint shows."""
    import keras

    if keras.config.image_data_format() != "channels_last":
        raise EmbedderError(
            "Keras is set to channels_first; expected channels_last. Set image_data_format in "
            "~/.keras/keras.json."
        )
    policy = keras.config.dtype_policy().name
    kinds = {policy, keras.config.floatx()}
    if kinds != {"float32"}:
        raise EmbedderError(
            f"Keras is set to compute in {max(kinds - {'float32'})}; expected float32. Set floatx "
            "in ~/.keras/keras.json, or call keras.config.set_dtype_policy('float32') first."
        )


@contextmanager
def random_state_kept(seed: int | None = None) -> Iterator[None]:
    """Leave Python's random numbers as they are: Keras draws the seeds of first weights there.

    With a `seed`, what is drawn meanwhile depends on it alone.
    """
    state = random.getstate()
    if seed is not None:
        random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _lite(name: str, size: int, weights: str | None) -> keras.Model:
    import keras

    from cbir.backbones.efficientnet_lite import load_state, network

    start = keras.Input((size, size, 3), name="scaled")
    model = keras.Model(start, network(name, start))
    if weights is None:
        return model
    if weights == "imagenet" or weights.endswith((".pth", ".pt")):
        load_state(model, name, None if weights == "imagenet" else weights)
        return model
    try:
        model.load_weights(weights)
    except Exception as error:  # h5py, Keras and the file system each have their own
        raise WeightsError(
            f"{weights}: expected weights of {name} (.weights.h5, or its torch file .pth); "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None
    return model


def _seed(weights: str) -> int | None:
    """The seed of "random:SEED", None for other weights."""
    kind, _, seed = weights.partition(":")
    if kind == "random" and seed.isdecimal():
        return int(seed)
    if weights == "trained":
        raise WeightsError(
            "weights: a trained embedder is in its folder only; expected that folder as embedder."
        )
    if weights not in ("imagenet", "file"):
        raise UsageError(f"weights: expected imagenet, file or random:SEED; received {weights!r}.")
    return None


def randomise(model: keras.Model, seed: int) -> None:
    """Seeded random weights that do not depend on the process, nor change its random state.

    Kernels are normal with variance 2 / fan-in, so that activations keep their size through ReLUs
    (He et al., Delving Deep into Rectifiers, ICCV 2015, section 2.2); what starts as a constant
    (norms, biases, the scales of ConvNeXt's layers) stays as it starts.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "kernel" not in variable.path.rsplit("/", 1)[-1]:
            continue
        shape = tuple(variable.shape)
        depthwise = len(shape) == 4 and shape[3] == 1
        fan_in = math.prod(shape[:2] if depthwise else shape[:-1])
        values = rng.normal(0, (2 / fan_in) ** 0.5, shape)
        variable.assign(values.astype(np.float32))


def cuts(name: str) -> list[tuple[str, tuple[int | None, ...]]]:
    """Every layer where a backbone may be cut, with the shape of its output (h, w, c) or (c,)."""
    info = get(name)
    whole = backbone(EmbedderSpec(info.name, "random:0", input_size=info.input_size))
    return [(layer, tuple(found.output.shape[1:])) for layer, found in cut_layers(whole).items()]


def truncated(spec: EmbedderSpec, weights_file: str | None = None) -> tuple[Any, Any]:
    """Input uint8 (n, s, s, 3) and the cut's output, as Keras tensors: preprocessing is inside.

    Raises as `backbone` does.
    """
    import keras

    from cbir.backbones.applications import preprocess

    if weights_file is not None and not os.path.isfile(weights_file):
        raise WeightsError(f"weights: expected a file; there is none at {weights_file}.")
    info = get(spec.backbone)
    size = spec.input_size
    start = keras.Input((size, size, 3), dtype="uint8", name="pixels")
    net = backbone(spec, weights_file)
    return start, net(preprocess(info.mode, start))
