"""`cbir models`: which embedders there are."""

from __future__ import annotations

import json

import click

from cbir.cli.options import json_option


@click.command("models", short_help="List the networks.")
@click.argument("name", required=False)
@json_option
def models_command(name: str | None, as_json: bool) -> None:
    """List the backbones that `--embedder` takes, or the layers where NAME may be cut.

    Weights: `here` can be used now; `fetch` are fetched by Keras on first use, or given with
    --weights FILE; `install` come with the package that is named; `train`: there are none, so
    that the network is trained first (cbir train). Licences are those of the weights.
    """
    from cbir.backbones import cuts, get, model_table
    from cbir.cli.output import result
    from cbir.present import columns

    if name is not None:
        layers = cuts(get(name).name)
        rows = [(layer, " x ".join(str(n) for n in shape)) for layer, shape in layers]
        if as_json:
            shaped = [{"layer": layer, "shape": list(shape)} for layer, shape in layers]
            result(json.dumps(shaped, indent=2) + "\n")
        else:
            result(columns(("layer", "output"), rows))
        return
    models = model_table()
    if as_json:
        result(json.dumps(models, indent=2) + "\n")
        return
    header = ("name", "dims", "input", "parameters", "weights", "licence")
    result(columns(header, [tuple(model[key] for key in header) for model in models]))
