"""Floor 4: detectors, and other models that are not promptable segmenters."""

from samrot.models.detectors import DETECTORS, Detector, load_detector

__all__ = ["DETECTORS", "Detector", "load_detector"]
