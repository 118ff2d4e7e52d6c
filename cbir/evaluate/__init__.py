"""Measuring retrieval: ground truth, metrics, protocols, the classical floor."""

from cbir.evaluate.answers import Pictures
from cbir.evaluate.chance import chance
from cbir.evaluate.classical import CLASSICAL, ColourHistogram, colour_histogram
from cbir.evaluate.comparison import Compare, Watch
from cbir.evaluate.comparison_rows import Comparison, Problem
from cbir.evaluate.comparison_rows import Row as CompareRow
from cbir.evaluate.embedding import Embedded, embed_crops, embed_files
from cbir.evaluate.fitting import Fittable, fitted
from cbir.evaluate.grid import Axes, Candidate, at_hand, grid
from cbir.evaluate.ground_truth import (
    Query,
    Truth,
    from_folders,
    from_groups,
    from_labels,
    from_landmarks,
    from_manifest,
)
from cbir.evaluate.index_answers import answered_by
from cbir.evaluate.index_protocol import Choice, IndexTruth, from_index, from_index_and_manifest
from cbir.evaluate.metrics import (
    average_precision,
    average_precision_trapezoid,
    bootstrap_interval,
    clipped_precision_at_k,
    index_recall_at_k,
    index_recall_by_id,
    map_at_r,
    mean,
    n_s,
    ndcg,
    paired_difference,
    precision_at_k,
    r_precision,
    recall_at_k,
    relevant_recall_at_k,
)
from cbir.evaluate.pareto import pareto_front
from cbir.evaluate.probe import Cell, Match, Probe, difference, matches, probe
from cbir.evaluate.probe import steps as probe_steps
from cbir.evaluate.probe_parts import ALL, Parts, ProbeSpec, parts_of
from cbir.evaluate.protocol import Answer, Answers, Summary, compare, rank, summarise
from cbir.evaluate.run import Measured, TruthFeatures, answered, measure, truth_features
from cbir.evaluate.self_answers import Attack, Attempt, SelfAnswers, SelfReport, profile
from cbir.evaluate.self_queries import SelfOptions, self_queries

__all__ = [
    "ALL",
    "Answer",
    "Answers",
    "Attack",
    "Attempt",
    "Axes",
    "CLASSICAL",
    "Candidate",
    "Cell",
    "Choice",
    "ColourHistogram",
    "Compare",
    "CompareRow",
    "Comparison",
    "Embedded",
    "Fittable",
    "IndexTruth",
    "Match",
    "Measured",
    "Parts",
    "Pictures",
    "Probe",
    "ProbeSpec",
    "Problem",
    "Query",
    "SelfAnswers",
    "SelfOptions",
    "SelfReport",
    "Summary",
    "Truth",
    "TruthFeatures",
    "Watch",
    "answered",
    "answered_by",
    "at_hand",
    "average_precision",
    "average_precision_trapezoid",
    "bootstrap_interval",
    "chance",
    "clipped_precision_at_k",
    "colour_histogram",
    "compare",
    "difference",
    "embed_crops",
    "embed_files",
    "fitted",
    "from_folders",
    "from_groups",
    "from_index",
    "from_index_and_manifest",
    "from_labels",
    "from_landmarks",
    "from_manifest",
    "grid",
    "index_recall_at_k",
    "index_recall_by_id",
    "map_at_r",
    "matches",
    "mean",
    "measure",
    "n_s",
    "ndcg",
    "paired_difference",
    "pareto_front",
    "parts_of",
    "precision_at_k",
    "probe",
    "probe_steps",
    "profile",
    "r_precision",
    "rank",
    "recall_at_k",
    "relevant_recall_at_k",
    "self_queries",
    "summarise",
    "truth_features",
]
