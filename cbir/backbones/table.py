"""The table of all backbones: what each is called, takes and gives. Importing it costs no Keras."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.util import find_spec

from cbir.backbones.efficientnet_lite import VARIANTS
from cbir.backbones.historic import HISTORIC
from cbir.errors import UsageError, WeightsError


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
_TABLE.update(
    {
        name: BackboneInfo(name, net.dims, net.size, net.parameters, net.mode, "")
        for name, net in HISTORIC.items()
    }
)
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
    """Where the weights are: "here", "install PACKAGE", "fetch", or "train": there are none yet."""
    if info.factory:
        return "fetch"
    if info.name in HISTORIC:
        return "train"
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


def check_published(info: BackboneInfo) -> None:
    """Raise WeightsError for a network that no weights are published for here."""
    if weights_state(info) == "train":
        raise WeightsError(
            f"{info.name}: expected a trained network; it comes without weights. Train it first "
            f"(`cbir train --backbone {info.name} FOLDER -o EMBEDDER`), then name EMBEDDER; or "
            "give --weights FILE. In Python, weights='random:0' gives random ones."
        )
