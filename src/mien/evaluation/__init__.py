"""How good a classifier is: metrics, comparison, robustness, explanations, reports. Needs no torch."""

from mien.evaluation.comparison import Comparison, compare
from mien.evaluation.end_to_end import Placed, end_to_end
from mien.evaluation.explain import occlusion_map
from mien.evaluation.metrics import Report, evaluate
from mien.evaluation.robustness import Robustness, evaluate_robustness
from mien.evaluation.views import Answers, answer_views, compare_answers, evaluate_views

__all__ = [
    "Answers",
    "Comparison",
    "Placed",
    "Report",
    "Robustness",
    "answer_views",
    "compare",
    "compare_answers",
    "end_to_end",
    "evaluate",
    "evaluate_robustness",
    "evaluate_views",
    "occlusion_map",
]
