"""`cbir benchmark recall --self-queries`: a failure profile without labels."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cbir.cli.benchmark.common import flag, given, load_embedder, machine, pair, refuse
from cbir.present.numbers import between, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbir.evaluate import Attack, SelfAnswers, SelfReport
    from cbir.evaluate.gallery import Gallery

FILE = "self-queries.json"
NEVER = ("query_where", "landmarks", "groups", "difficulty", "label")
OF_FILES = ("embedder", "weights", "cut", "input_size", "resize", "dims", "projection",
            "gallery_where")  # fmt: skip


def keeps_self_queries(folder: str | None) -> bool:
    """Whether a folder holds kept self-queries, and no other answers."""
    if folder is None or os.path.exists(os.path.join(folder, "answers.json")):
        return False
    return os.path.exists(os.path.join(folder, FILE))


def self_queries_report(folder: str | None, options: dict[str, Any]) -> None:
    """Ask for the sources of edited pictures, and say how often they are found."""
    from cbir.cli.output import EXIT_SKIPPED, failures, quit_with, result
    from cbir.present import write_whole

    refuse("--self-queries", NEVER, "expected an index, FOLDER or --manifest alone")
    if options["rescore"]:
        found = _stored(options["rescore"])
        found = found if folder is None else found.moved_to(folder)
    else:
        found = _signed(_asked(folder, options), options)
        if options["output"]:
            os.makedirs(options["output"], exist_ok=True)
            write_whole(os.path.join(options["output"], FILE), found.to_json().encode())
    result(_as_json(found) if options["as_json"] else _text(found))
    if options["html"]:
        from cbir.cli.benchmark.self_queries_html import write_self_page

        write_self_page(options["html"], found)
    failures(found.failures)
    if found.failures and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _stored(folder: str) -> SelfAnswers:
    from cbir.errors import UsageError
    from cbir.evaluate import SelfAnswers

    try:
        with open(os.path.join(folder, FILE), encoding="utf-8") as file:
            return SelfAnswers.from_json(file.read())
    except OSError as error:
        raise UsageError(
            f"--rescore: expected {FILE} in {folder}, as --self-queries --output keeps it; "
            f"{error.strerror}."
        ) from None


def _signed(answers: SelfAnswers, options: dict[str, Any]) -> SelfAnswers:
    """The answers with when and on what they were measured."""
    from dataclasses import replace

    date = datetime.now().strftime("%Y-%m-%d %H:%M")
    return replace(answers, about={**answers.about, "date": date, "machine": machine()})


def _asked(folder: str | None, options: dict[str, Any]) -> SelfAnswers:
    """Ask a gallery of files, or an index where no files are named."""
    from dataclasses import replace

    from cbir.cli.output import note
    from cbir.errors import UsageError
    from cbir.evaluate.gallery import of_index
    from cbir.query import Index

    sources = [s for s in (folder, options["manifest"]) if s]
    if len(sources) > 1 or (sources and given("index")):
        raise UsageError(
            "--self-queries: expected one of -i INDEX, FOLDER and --manifest CSV; received "
            f"{len(sources) + given('index')}."
        )
    if sources:
        return _asked_of_files(folder, options)
    refuse("--self-queries", OF_FILES, "an index has its own images, embedder and projection")
    with Index.open(options["index"]) as index:
        if not len(index):
            raise UsageError(f"--self-queries: {options['index']} holds no images yet.")
        name = f"index {os.path.basename(index.path)}"
        found = _ask(replace(of_index(index), name=name), _system(index), options)
        for line in index.notes:
            note(f"Note: {line}. `cbir check --repair` mends it.")
    return found


def _system(index: Any) -> str:
    from cbir.config import IndexSpec
    from cbir.evaluate.run import name_of

    generation = index.catalog.generation()
    spec = IndexSpec.from_dict(json.loads(generation.spec))
    return name_of(index.embedder(), spec, generation.fitted > 0)


def _asked_of_files(folder: str | None, options: dict[str, Any]) -> SelfAnswers:
    """Features from the cache, projected as `cbir index` would; no index is needed."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar
    from cbir.config import IndexSpec
    from cbir.embed.projection import FIT_AT
    from cbir.evaluate.gallery import of_files
    from cbir.evaluate.run import name_of

    name, paths = _files(folder, options)
    spec = IndexSpec(dims=options["dims"], projection=options["projection"])
    embedder = load_embedder(options["embedder"], options)
    with FeatureCache(default_cache()) as cache, Bar() as bar:
        bar.stage(embedder.spec.backbone, len(paths))
        gallery = of_files(name, paths, embedder, spec, cache, bar.advance)
    return _ask(gallery, name_of(embedder, spec, len(gallery) >= FIT_AT), options)


def _files(folder: str | None, options: dict[str, Any]) -> tuple[str, list[str]]:
    from cbir.errors import UsageError
    from cbir.evaluate.ground_truth import chosen_rows, read_manifest
    from cbir.images import scan

    if folder is None:
        manifest = options["manifest"]
        rows = read_manifest(manifest, label=None)
        chosen = chosen_rows(rows, options["gallery_where"])
        name = " ".join((os.path.basename(os.path.dirname(os.path.abspath(manifest))),
                         *options["gallery_where"]))  # fmt: skip
        return name, [rows[i].path for i in chosen]
    if options["gallery_where"]:
        raise UsageError(
            f"{flag('gallery_where')}: expected together with --manifest; received FOLDER."
        )
    paths = [ref.file for ref in scan(folder).refs]
    if not paths:
        raise UsageError(f"--self-queries: expected a folder with images; {folder} has none.")
    return os.path.basename(os.path.abspath(folder)), paths


def _ask(gallery: Gallery, system: str, options: dict[str, Any]) -> SelfAnswers:
    from dataclasses import replace

    from cbir.cli.output import Bar
    from cbir.evaluate import SelfOptions, self_queries

    used = SelfOptions(sample=options["sample"])
    with Bar() as bar:
        floor = None if options["no_floor"] else _floor(gallery, bar)
        bar.stage("self-queries", min(options["sample"], len(gallery)))
        found = self_queries(gallery, used, floor, bar.advance)
    lost = dict.fromkeys((*gallery.failures, *found.failures))
    return replace(found, system=system, failures=tuple(lost))


def _floor(gallery: Gallery, bar: Any) -> Gallery:
    """The colour histogram's gallery of the same files."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.config import IndexSpec
    from cbir.evaluate import ColourHistogram
    from cbir.evaluate.gallery import of_files

    bar.stage("colour histogram", len(gallery))
    with FeatureCache(default_cache()) as cache:
        return of_files(gallery.name, gallery.files, ColourHistogram(),
                        IndexSpec(projection="none"), cache, bar.advance)  # fmt: skip


def _text(answers: SelfAnswers) -> str:
    from cbir.evaluate import profile
    from cbir.present import columns, count, visible

    found = profile(answers)
    rows = []
    for whole, edits in found.kinds:
        if len(edits) > 1:
            rows.append(_row(whole.kind, whole))
        rows += [_row(f"{'  ' if len(edits) > 1 else ''}{a.name}", a) for a in edits]
    header = ("edit", "recall@1", "recall@5", "recall@10", "95 % of recall@1", "score", "floor@1")
    return (
        f"{visible(answers.gallery)}: {count(found.sources, 'picture')} of "
        f"{answers.images:,}, each edited in {len(answers.edits)} ways; {visible(answers.system)}: "
        "how often is the source found?\n\n"
        + columns(header, [*rows, _row("all edits", found.every)])
        + f"\n{_hurt(found)}Kinds and edits from least harm to most. Score: mean of the source's, "
        "where found; floor@1: recall@1 of a colour histogram.\n"
    )


def _row(name: str, attack: Attack) -> tuple[str, ...]:
    return (name, *(number(attack.recall[k]) for k in attack.recall), between(attack.interval),
            number(attack.source_score), number(attack.floor))  # fmt: skip


def _hurt(found: SelfReport) -> str:
    """Which edits hurt most, in one line; nothing where none does."""
    worst: Sequence[Attack] = [a for a in reversed(found.attacks) if a.recall[1] < 1][:5]
    if not worst:
        return ""
    named = ", ".join(f"{a.name} {number(a.recall[1])}" for a in worst)
    return f"Hurt most: {named}.\n"


def _as_json(answers: SelfAnswers) -> str:
    from cbir.evaluate import profile

    found = profile(answers)
    whole = {
        "protocol": "self-queries",
        "gallery": answers.gallery,
        "system": answers.system,
        "embedder": answers.about.get("embedder"),
        "images": found.sources,
        "of": answers.images,
        **_values(found.every),
        "kinds": {whole.kind: _values(whole) for whole, _ in found.kinds},
        "edits": {a.name: {"kind": a.kind, **_values(a)} for a in found.attacks},
        "about": dict(answers.about),
    }
    return json.dumps(whole, indent=2) + "\n"


def _values(attack: Attack) -> dict[str, Any]:
    return {
        **{f"recall@{k}": round(value, 6) for k, value in attack.recall.items()},
        "interval": pair(attack.interval), "queries": attack.queries,
        "source_score": None if attack.source_score != attack.source_score
        else round(attack.source_score, 6),
        "floor_recall@1": None if attack.floor != attack.floor else round(attack.floor, 6),
    }  # fmt: skip
