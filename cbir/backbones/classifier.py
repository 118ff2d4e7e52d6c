"""Any backbone with a classifier on top, to be trained from scratch, and cut again afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbir.backbones.cutting import layer_at
from cbir.backbones.googlenet import AUXILIARY, AUXILIARY_WEIGHT
from cbir.backbones.historic import HISTORIC
from cbir.backbones.registry import check_keras, random_state_kept, whole_net
from cbir.backbones.table import get
from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, UsageError

if TYPE_CHECKING:
    import keras

NET = "net"
LOGITS = "logits"


def classifier(
    name: str, classes: int, input_size: int | None = None, *, seed: int = 0
) -> keras.Model:
    """A backbone with initial weights and a classifier: uint8 (n, s, s, 3) → logits (n, classes).

    Preprocessing is inside; a feature map is averaged; the dropout before the classifier is the
    published one. Weights depend on `seed` alone. `input_size`: None for the network's own.
    Raises UsageError (no such backbone, no class), EmbedderError (the size does not fit).
    """
    import keras
    from keras import layers
    from keras.initializers import RandomNormal

    from cbir.backbones.applications import preprocess

    info = get(name)
    if classes < 1:
        raise UsageError(f"classes: expected at least 1; received {classes}.")
    check_keras()
    size = input_size or info.input_size
    net = whole_net(info, size, None, seed)
    inner = keras.Model(net.input, net.output, name=NET)
    with random_state_kept(seed + 1):
        start = keras.Input((size, size, 3), dtype="uint8", name="pixels")
        x = inner(preprocess(info.mode, start))
        if len(x.shape) == 4:
            x = layers.GlobalAveragePooling2D(name="gap")(x)
        dropout = HISTORIC[info.name].dropout if info.name in HISTORIC else 0.0
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        logits = layers.Dense(classes, kernel_initializer=RandomNormal(stddev=0.01), name=LOGITS)
        model = keras.Model(start, logits(x), name=_plain(info.name))
    return model


def training_model(model: keras.Model, *, seed: int = 0) -> tuple[keras.Model, list[float]]:
    """What is trained of a `classifier`, and how much the loss of each of its outputs counts.

    The classifier itself with [1.0], but for GoogLeNet: a model of the same layers with the logits
    of two auxiliary heads as further outputs (Szegedy et al. 2015, section 5: they count .3 each).
    """
    import keras

    from cbir.backbones.googlenet import auxiliary_head

    net = model.get_layer(NET)
    if not {layer.name for layer in net.layers}.issuperset(AUXILIARY):
        return model, [1.0]
    classes = model.output_shape[-1]
    heads = [net.get_layer(name).output for name in AUXILIARY]
    with random_state_kept(seed + 2):
        made = [
            auxiliary_head(tensor, classes, f"auxiliary{i}") for i, tensor in enumerate(heads, 1)
        ]
        inner = keras.Model(net.input, [net.output, *made], name="net_with_auxiliary")
        return _joined(model, inner), [1.0, *[AUXILIARY_WEIGHT] * len(made)]


def _joined(model: keras.Model, inner: keras.Model) -> keras.Model:
    """The classifier's own layers round another form of its net, whose further outputs are kept."""
    import keras

    x: Any = model.input
    more: list[Any] = []
    for layer in model.layers[1:]:
        if layer.name == NET:
            x, *more = inner(x)
        else:
            x = layer(x)
    return keras.Model(model.input, [x, *more], name=f"{model.name}_training")


def truncated_classifier(model: keras.Model, spec: EmbedderSpec) -> tuple[Any, Any]:
    """Input uint8 (n, s, s, 3) and the cut's output of a trained `classifier`, as Keras tensors.

    As `cbir.backbones.truncated`, with the arrays of `model`, which are shared. Raises UsageError
    for a layer that is not there, EmbedderError for a model that `classifier` did not make.
    """
    import keras

    if NET not in {layer.name for layer in model.layers}:
        raise EmbedderError(f"{model.name}: expected a model that cbir.backbones.classifier made.")
    net = model.get_layer(NET)
    output = net.output if not spec.cut else layer_at(net, spec.cut, spec.backbone).output
    x: Any = model.input
    for layer in model.layers[1:]:
        if layer.name == NET:
            break
        x = layer(x)
    return model.input, keras.Model(net.input, output, name=_plain(spec.backbone))(x)


def _plain(name: str) -> str:
    return name.replace("-", "_")
