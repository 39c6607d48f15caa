"""SAM's prompt encoder, with the prompts drawn: for models that learn from little data."""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn


class DensePromptEncoder(PromptEncoder):
    """SAM's prompt encoder, which also draws boxes and points into the dense embedding.

    Each cell of the embedding learns where it lies relative to the box (in box sizes and in pixels)
    and how near it is to the clicked points.
    """

    DRAWN_CHANNELS = 15
    POINT_RADII = (8.0, 32.0)  # pixels of the input square

    def __init__(self, embed_dim: int, image_embedding_size: int, input_image_size: int) -> None:
        super().__init__(
            embed_dim=embed_dim,
            image_embedding_size=(image_embedding_size, image_embedding_size),
            input_image_size=(input_image_size, input_image_size),
            mask_in_chans=16,
        )
        self.drawing = nn.Sequential(
            nn.Conv2d(self.DRAWN_CHANNELS, 64, 1), nn.GELU(), nn.Conv2d(64, embed_dim, 1)
        )

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """As ``PromptEncoder.forward``: sparse (B, N, C) and dense (B, C, H, W) embeddings."""
        sparse, dense = super().forward(points=points, boxes=boxes, masks=masks)
        num_prompts = len(sparse)
        drawn = torch.cat(
            [self.draw_boxes(boxes, num_prompts), self.draw_points(points, num_prompts)], dim=1
        )
        return sparse, dense + self.drawing(drawn)

    def _cell_centres(self) -> tuple[Tensor, Tensor]:
        height, width = self.image_embedding_size
        device = self._get_device()
        y = (torch.arange(height, device=device) + 0.5) * (self.input_image_size[0] / height)
        x = (torch.arange(width, device=device) + 0.5) * (self.input_image_size[1] / width)
        return x[None, None, :], y[None, :, None]

    def draw_boxes(self, boxes: Tensor | None, num_prompts: int) -> Tensor:
        """(B, 4) boxes, or none for B prompts, to (B, 11, H, W)."""
        height, width = self.image_embedding_size
        if boxes is None:
            return torch.zeros(num_prompts, 11, height, width, device=self._get_device())
        x, y = self._cell_centres()
        x0, y0, x1, y1 = boxes.float().reshape(-1, 4)[:, :, None, None].unbind(1)
        box_width, box_height = (x1 - x0).clamp(min=1.0), (y1 - y0).clamp(min=1.0)
        pixels = [edge.expand(-1, height, width) for edge in (x - x0, x1 - x, y - y0, y1 - y)]
        stride = self.input_image_size[0] / height
        sizes = [box_width, box_width, box_height, box_height]
        relative = [(d / s).clamp(-1.0, 2.0) for d, s in zip(pixels, sizes, strict=True)]
        fine = [(d / stride).clamp(-2.0, 2.0) for d in pixels]
        extent = [(s / 64).log().expand(-1, height, width) for s in (box_width, box_height)]
        return torch.stack([*relative, *fine, *extent, torch.ones_like(pixels[0])], dim=1)

    def draw_points(self, points: tuple[Tensor, Tensor] | None, num_prompts: int) -> Tensor:
        """(B, N, 2) points and (B, N) labels, or none for B prompts, to (B, 4, H, W)."""
        height, width = self.image_embedding_size
        if points is None:
            return torch.zeros(num_prompts, 4, height, width, device=self._get_device())
        coords, labels = points
        x, y = self._cell_centres()
        px, py = coords.float()[..., None, None].unbind(2)  # (B, N, 1, 1)
        squared = (x - px) ** 2 + (y - py) ** 2
        planes = []
        for label in (1, 0):
            chosen = (labels == label)[..., None, None]
            for radius in self.POINT_RADII:
                bump = torch.exp(-squared / (2 * radius**2)) * chosen
                planes.append(bump.amax(dim=1))
        return torch.stack(planes, dim=1)
