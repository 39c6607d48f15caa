"""Floor 3: pure numbers: average precision, equivariance, pose statistics."""

from samrot.scoring.average_precision import METRICS, SCORERS, average_precision
from samrot.scoring.equivariance import Equivariance, mean
from samrot.scoring.matches import image_matches

__all__ = ["METRICS", "SCORERS", "Equivariance", "average_precision", "image_matches", "mean"]
