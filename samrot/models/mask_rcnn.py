"""Detectors that come with libraries, as ``image -> samrot.Detections``."""

from __future__ import annotations

import numpy as np
import torch

from samrot.errors import InputError
from samrot.structures.detections import Detections

MASK_THRESHOLD = 0.5


class MaskRCNNDetector:
    """torchvision's Mask R-CNN (ResNet-50 FPN): boxes and masks; its labels are COCO ids.

    Args:
        model: a torchvision detection model in eval mode.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model.eval()

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> Detections:
        """Boxes and masks in an (H, W, 3) uint8 RGB image."""
        device = next(self.model.parameters()).device
        pixels = torch.from_numpy(image).to(device).permute(2, 0, 1).float() / 255
        output = self.model([pixels])[0]
        boxes, scores, labels, masks = (
            output[key].cpu().numpy() for key in ("boxes", "scores", "labels", "masks")
        )
        return Detections(boxes, scores, labels, masks[:, 0] > MASK_THRESHOLD)


def torchvision_mask_rcnn(*, device: str = "cpu") -> MaskRCNNDetector:
    """Mask R-CNN with torchvision's COCO weights, from torch's cache or the network.

    Raises:
        InputError: if the weights are neither there nor to be had.
    """
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn

    weights = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    try:
        model = maskrcnn_resnet50_fpn(weights=weights)
    except OSError as error:
        raise InputError(
            f"the weights of torchvision's Mask R-CNN cannot be downloaded ({error}); put "
            f"{weights.url} into {torch.hub.get_dir()}/checkpoints"
        ) from error
    return MaskRCNNDetector(model.to(device))
