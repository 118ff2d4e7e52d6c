"""`cbir benchmark recall --self-queries --html`: the page from stored answers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from cbir.cli.benchmark.common import write_album_page

if TYPE_CHECKING:
    from cbir.evaluate import Attack, SelfAnswers
    from cbir.present.self_page import EditBar, Example, SelfPageReport

EDITS_SHOWN = 6
MISSES_SHOWN = 4


def write_self_page(file: str, answers: SelfAnswers) -> None:
    """Write the page, and say where it is and what it could not show."""
    from cbir.present.self_page import self_page

    write_album_page(file, self_page(page_of(answers)))


def page_of(answers: SelfAnswers) -> SelfPageReport:
    """Everything that the page shows, from stored answers alone."""
    from cbir.evaluate import profile
    from cbir.present import count
    from cbir.present.self_page import SelfPageReport

    found = profile(answers)
    facts = (
        f"{count(found.sources, 'picture')} edited in {len(answers.edits)} ways",
        f"{answers.images:,} in the gallery", answers.system,
    )  # fmt: skip
    kinds = tuple(
        (_bar(whole, whole.kind), tuple(_bar(edit) for edit in edits))
        for whole, edits in found.kinds
    )
    return SelfPageReport(
        answers.gallery, answers.system, facts, _bar(found.every), kinds,
        _examples(answers, found.attacks), _about(answers),
        max(answers.about.get("decoded") or 0, 16),
        datetime.now().strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip


def _bar(attack: Attack, name: str = "") -> EditBar:
    from cbir.present.recall_page import Value
    from cbir.present.self_page import EditBar

    return EditBar(name or attack.name, Value(attack.recall[1], *attack.interval),
                   attack.recall[5], attack.recall[10], attack.floor)  # fmt: skip


def _examples(answers: SelfAnswers, attacks: tuple[Attack, ...]) -> tuple[Example, ...]:
    from cbir.evaluate.self_answers import failed_examples
    from cbir.present.self_page import Example, Miss

    made = []
    shown: set[int] = set()
    for attack in [a for a in reversed(attacks) if a.recall[1] < 1][:EDITS_SHOWN]:
        chosen = failed_examples(answers, attack.name, MISSES_SHOWN, shown)
        misses = tuple(
            Miss(answers.pictures.path(a.source), answers.pictures.path(a.first), a.first_score,
                 a.rank)
            for a in chosen
            if a.first is not None
        )  # fmt: skip
        wrong = round(attack.queries * (1 - attack.recall[1]))
        made.append(Example(_bar(attack), misses, wrong))
    return tuple(made)


def _about(answers: SelfAnswers) -> tuple[tuple[str, str], ...]:
    about = answers.about
    embedder, machine = about.get("embedder") or {}, about.get("machine") or {}
    rows = [
        ("Gallery", answers.gallery),
        ("System", answers.system),
        ("Weights", embedder.get("weights")),
        ("Input", f"{embedder.get('input_size')} px, {embedder.get('resize')}"),
        ("Floor", about.get("floor") or "not measured"),
        ("Sample", f"{about.get('sample')} pictures at most, seed {about.get('seed')}"),
        ("Left out", about.get("failures") and f"{about['failures']} files that cannot be used"),
        ("Measured on", about.get("date")),
        ("With", machine and f"cbir {machine.get('cbir')}, Python {machine.get('python')}"),
    ]
    return tuple((name, str(value)) for name, value in rows if value)
