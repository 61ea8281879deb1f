"""Scores with intervals, the fusion verdict, calibration, simple baselines and cost."""

from omnifuse.evaluation.baselines import BaselineData, Baselines, simple_baselines
from omnifuse.evaluation.calibration import calibration_subsets, fit_readout
from omnifuse.evaluation.conformal import conformal_coverage, conformal_threshold, conformal_width, interval_summary
from omnifuse.evaluation.cost import count_flops, count_parameters, measure_rate, peak_memory_mb
from omnifuse.evaluation.intervals import Interval, PairedDifference, holm, paired_test, with_intervals
from omnifuse.evaluation.metrics import MAIN_METRIC, known_rows, score
from omnifuse.evaluation.reliability import (
    calibration_error,
    calibration_summary,
    confidences,
    reliability_bins,
    risk_coverage_area,
)
from omnifuse.evaluation.verdict import ENOUGH_ROWS, LEVEL, STRICT_LEVEL, FusionVerdict, fusion_verdict
from omnifuse.evaluation.written import references_of, written_details, written_scores

__all__ = [
    "ENOUGH_ROWS",
    "LEVEL",
    "MAIN_METRIC",
    "STRICT_LEVEL",
    "BaselineData",
    "Baselines",
    "FusionVerdict",
    "Interval",
    "PairedDifference",
    "calibration_error",
    "calibration_subsets",
    "calibration_summary",
    "confidences",
    "conformal_coverage",
    "conformal_threshold",
    "conformal_width",
    "count_flops",
    "count_parameters",
    "fit_readout",
    "fusion_verdict",
    "holm",
    "interval_summary",
    "known_rows",
    "measure_rate",
    "paired_test",
    "peak_memory_mb",
    "references_of",
    "reliability_bins",
    "risk_coverage_area",
    "score",
    "simple_baselines",
    "with_intervals",
    "written_details",
    "written_scores",
]
