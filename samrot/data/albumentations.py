"""The one place that imports albumentations, which would look for updates on the network."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations

__all__ = ["albumentations"]
