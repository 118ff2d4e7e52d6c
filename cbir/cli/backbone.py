"""`cbir backbone show`: what a network sees in a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from cbir.embed import Embedder

FORMATS = (".html", ".png")


@click.group("backbone", short_help="Look into a network.")
def backbone_command() -> None:
    """Look into a network. `cbir models` lists all, `cbir models NAME` the layers of one."""


@backbone_command.command("show", short_help="Activation maps of a picture, layer by layer.")
@click.argument("name", metavar="NAME|DIR")
@click.argument("image", metavar="IMAGE", type=click.Path(exists=True, dir_okay=False))
@click.option("--layer", "layers", multiple=True, metavar="LAYER",
              help="Only this layer (`cbir models NAME` lists them); may be given several times. "
              "Default: every convolution, with what directly follows it.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", default="activations.html", show_default=True,
              help="What to write: .html or .png.")  # fmt: skip
@click.option("--channels", type=click.IntRange(1, 4096), default=64, show_default=True,
              metavar="N", help="How many channels of a layer are shown, at most.")  # fmt: skip
@click.option("--colors", type=click.Choice(["viridis", "grey"]), default="viridis",
              show_default=True, help="Colours of the maps.")  # fmt: skip
@click.option("--filters/--no-filters", default=True, show_default=True,
              help="The first layer's filters as pictures.")  # fmt: skip
@click.option("--weights", metavar="FILE", help="Weights of the backbone, from a file.")
@click.option("--random", "seed", type=click.IntRange(min=0), metavar="SEED",
              help="Random weights: for a network that has none yet.")  # fmt: skip
@click.option("--input-size", type=int, metavar="PIXELS", help="Side of the square input.")
def show_command(
    name: str, image: str, layers: tuple[str, ...], output: str, channels: int,
    colors: Literal["viridis", "grey"], filters: bool, **how: Any,
) -> None:  # fmt: skip
    """Draw the activation maps of IMAGE in a network: what each layer responds to, and where.

    NAME is a backbone (`cbir models`), DIR the folder of a saved embedder. Each convolution has a
    grid with a cell for a channel, coloured on its own from its least to its largest value.
    """
    from cbir.cli.output import note, result
    from cbir.errors import UsageError
    from cbir.images import prepare
    from cbir.present import count, visible, write_whole
    from cbir.present.activations import LayerView, NetView, activations_page, png
    from cbir.present.activations_sheet import activations_sheet

    kind = os.path.splitext(output)[1].lower()
    if kind not in FORMATS:
        raise UsageError(f"output: expected a file {' or '.join(FORMATS)}; received {output}.")
    embedder = _embedder(name, **how)
    from cbir.backbones.activations import activation_maps, first_filters

    pixels = _pixels(prepare(image, embedder.spec), image)
    found = activation_maps(embedder.model, pixels, layers)
    view = NetView(
        embedder.spec.backbone, os.path.basename(image), pixels,
        tuple(LayerView(one.layer, one.after, one.maps) for one in found),
        first_filters(embedder.model) if filters else None, channels, colors,
    )  # fmt: skip
    if kind == ".html":
        write_whole(output, activations_page(view).encode())
    else:
        write_whole(output, png(activations_sheet(view)))
    if filters and view.filters is None:
        note(
            "The first convolution does not see the picture's channels: its filters are not drawn."
        )
    result(f"{count(len(found), 'layer')} of {embedder.spec.backbone} in {visible(output)}\n")


def _embedder(name: str, weights: str | None, seed: int | None, input_size: int | None) -> Embedder:
    from cbir.backbones import get
    from cbir.config import EmbedderSpec
    from cbir.embed import Embedder
    from cbir.errors import UsageError

    if seed is None:
        return Embedder.load(name, input_size=input_size, weights_file=weights)
    if weights is not None or os.path.isdir(name):
        raise UsageError("random: expected a backbone's name and no --weights beside --random.")
    info = get(name)
    size = input_size or info.input_size
    return Embedder.from_spec(EmbedderSpec(info.name, f"random:{seed}", input_size=size))


def _pixels(prepared: Any, image: str) -> Any:
    from cbir.errors import ImageError

    if prepared.pixels is None:
        raise ImageError(str(prepared.failure or "it cannot be read"), image)
    return prepared.pixels
