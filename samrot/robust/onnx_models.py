"""The pipeline's networks as modules that export to ONNX: photo in, numbers out."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import Sam
from segment_anything.utils.onnx import SamOnnxModel
from torch import Tensor, nn

from samrot.canonicalizers import Canonicalizer
from samrot.canonicalizers.thumbnail import FILL
from samrot.segmenters.dense_prompts import DensePromptEncoder


class PoseModel(nn.Module):
    """A canonicalizer with its thumbnail: (H, W, 3) uint8 RGB of any size to (|G|,) pose logits.

    The thumbnail is that of ``Thumbnail`` to rounding, written so that height and width may be
    symbols.
    """

    def __init__(self, canonicalizer: Canonicalizer) -> None:
        super().__init__()
        self.canonicalizer = canonicalizer
        self.frame = canonicalizer.thumbnail.frame
        self.size = canonicalizer.thumbnail.size
        self.aspect_signs = canonicalizer.aspect_signs()

    def forward(self, image: Tensor) -> Tensor:
        """(H, W, 3) uint8 to (|G|,) float32."""
        height, width = image.shape[:2]
        side = (
            torch.sym_max(height, width)
            if self.frame == "letterbox"
            else torch.sym_min(height, width)
        )
        channels = image.permute(2, 0, 1).double()
        places = (-1, 0, 1) if self.frame == "squares" else (0,)
        views = []
        for place in places:
            rows = self._area_weights(height, side, place)
            columns = self._area_weights(width, side, place)
            view = rows @ channels @ columns.T
            if self.frame == "letterbox":
                view = view + (1 - torch.outer(rows.sum(dim=1), columns.sum(dim=1))) * FILL
            views.append(view)
        wider = torch.sign(torch.ones(len(self.aspect_signs)) * (width - height))
        aspect = self.canonicalizer.aspect_log_odds / 2 * self.aspect_signs * wider
        images = self.canonicalizer.normalise(torch.stack(views).float())
        logits = self.canonicalizer.network(images).mean(dim=0) + aspect
        if not self.canonicalizer.mirror_average:
            return logits
        mirrored = self.canonicalizer.mirrored_evidence(images).mean(dim=0) + aspect
        unsure = logits.softmax(0).max() <= self.canonicalizer.mirror_below
        return torch.where(unsure, (logits + mirrored) / 2, logits)

    def _area_weights(self, length: int, side: int | torch.SymInt, place: int) -> Tensor:
        """See ``thumbnail.area_weights``; all pixels of the axis are kept."""
        bin_width: Any = side / self.size
        edges = torch.arange(self.size + 1, dtype=torch.float64) * bin_width
        if place == 0:
            edges = edges - side / 2 + length / 2
        elif place == 1:
            edges = edges + length - side
        pixels = torch.arange(length, dtype=torch.float64)
        left = torch.maximum(edges[:-1, None], pixels[None, :])
        right = torch.minimum(edges[1:, None], pixels[None, :] + 1)
        return (right - left).clamp(min=0.0) / bin_width


class EncoderModel(nn.Module):
    """A SAM's image encoder with its preprocessing.

    Takes the resized photo, (h, w, 3) uint8 RGB, the longest side that of the model's input.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> Tensor:
        """(h, w, 3) uint8 to (1, C, s, s)."""
        side = self.sam.image_encoder.img_size
        pixels = (image.permute(2, 0, 1)[None].float() - self.sam.pixel_mean) / self.sam.pixel_std
        height, width = pixels.shape[-2:]
        square = nn.functional.pad(pixels, (0, side - width, 0, side - height))
        return self.sam.image_encoder(square)


class DecoderModel(SamOnnxModel):
    """Prompt encoder, mask decoder and upscaling, with the inputs of segment-anything's export.

    Boxes are two points with the labels 2 and 3, their first and last corner.
    """

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(1, C, s, s), (1, N, 2), (1, N), (1, 1, h, w), (1,), (2,) to masks, IoUs, logits."""
        sparse = self._embed_points(point_coords, point_labels)
        dense = self._embed_masks(mask_input, has_mask_input)
        if isinstance(self.model.prompt_encoder, DensePromptEncoder):
            dense = dense + self._drawn(point_coords, point_labels)
        masks, scores = self.model.mask_decoder.predict_masks(
            image_embeddings=image_embeddings,
            image_pe=self.model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
        return self._upscale(masks, orig_im_size), scores, masks

    def _upscale(self, masks: Tensor, orig_im_size: Tensor) -> Tensor:
        """``Sam.postprocess_masks``, with sizes that the exporter follows as symbols."""
        side = self.img_size
        content = self.resize_longest_image_size(orig_im_size, side)
        height, width = content[0].item(), content[1].item()
        full_height, full_width = (length.item() for length in orig_im_size.long())
        for length in (height, width):
            torch._check(length >= 1)
            torch._check(length <= side)
        for length in (full_height, full_width):
            torch._check(length >= 1)
        square = nn.functional.interpolate(masks, (side, side), mode="bilinear")
        photo = square[..., :height, :width]
        return nn.functional.interpolate(photo, (full_height, full_width), mode="bilinear")

    def _drawn(self, coords: Tensor, labels: Tensor) -> Tensor:
        """What ``sam_mini`` draws into the dense embedding."""
        encoder = self.model.prompt_encoder
        first, last = ((coords * (labels == n)[..., None]).sum(dim=1) for n in (2, 3))
        has_box = (labels == 2).any().float()
        boxes = has_box * encoder.draw_boxes(torch.cat([first, last], dim=1), 1)
        return encoder.drawing(torch.cat([boxes, encoder.draw_points((coords, labels), 1)], dim=1))
