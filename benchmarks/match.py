"""How far a match can be trusted: reliability, and what is answered at a threshold.

    python benchmarks/match.py --data FOLDER      # with clothing/ and grocery/ in it
    python benchmarks/match.py --smoke            # a minute: the sample gallery

For each set the gallery (train) is calibrated as `cbir index` does it; then it is asked for edited
copies of pictures that were no sources of the fit, and for held-out photos (validation, val) that
have no copy in it. Prints what `cbir benchmark match` prints, writes benchmarks/results/match.json,
and fails where more than 5 % of the photos without a copy are answered at .9.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from common import machine, protocols, save, say, smoke

from cbir import Embedder
from cbir.catalog import FeatureCache, default_cache
from cbir.cli.benchmark.match import report_dict, report_text
from cbir.config import IndexSpec
from cbir.evaluate.calibrate import calibrate
from cbir.evaluate.reliability import match_report, of_truth

MOST = 0.05


def main() -> None:
    """Calibrate, ask, print, check."""
    parser = argparse.ArgumentParser(description="How far a match can be trusted")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    figures, wrong = {}, []
    embedder = Embedder.load("efficientnet-lite0")
    with tempfile.TemporaryDirectory() as folder:
        tasks = smoke(folder) if chosen.smoke else protocols(chosen.data)
        kept = os.path.join(folder, "cache.sqlite") if chosen.smoke else default_cache()
        tasks.pop("grocery unseen", None)
        for name, truth in tasks.items():
            with FeatureCache(kept) as cache:
                gallery, held = of_truth(truth, embedder, IndexSpec(), cache)
            calibration = calibrate(gallery)
            if calibration is None:
                raise SystemExit(f"{name}: expected a gallery that can be calibrated.")
            report = match_report(gallery, calibration, held)
            say(report_text(name, report))
            figures[name] = report_dict(report)
            if not chosen.smoke and report.others[0.9][0] > MOST:
                wrong.append(f"{name}: {report.others[0.9][0]:.3f} answered without a copy")
            if not chosen.smoke and report.after.error >= report.before.error:
                wrong.append(f"{name}: the match is not better calibrated than the score")
    if wrong:
        raise SystemExit("Not as it must be: " + "; ".join(wrong))
    if not chosen.smoke:
        say(f"written: {save('match', {'machine': machine(), 'sets': figures})}")


if __name__ == "__main__":
    main()
