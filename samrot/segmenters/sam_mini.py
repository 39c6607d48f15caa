"""``sam_mini``: a ``segment_anything`` Sam of five million parameters that trains on two CPU cores.

The class and the interfaces are SAM's. Three parts are choices for little data and few cores: a
convolutional encoder with an embedding at stride 8 instead of a ViT at stride 16; prompts that are
also drawn into the dense embedding, so that "inside the box" need not be learned from scratch
through attention; and a mask decoder whose image side is convolutional.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE_SIZE = 512
STRIDE = 8
EMBED_DIM = 96


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group normalisation around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(channels // 16, channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(channels // 16, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.relu(x + self.body(x))


def _downscale(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, 2, kernel_size // 2, bias=False),
        nn.GroupNorm(out_channels // 16, out_channels),
        nn.ReLU(inplace=True),
    )


class ConvEncoder(nn.Module):
    """Residual pyramid with a transformer layer at the coarsest scale, merged at stride 8.

    Args:
        img_size: side of the square input, as ``Sam`` expects to find it.
        out_chans: channels of the embedding.
    """

    def __init__(self, img_size: int = IMAGE_SIZE, out_chans: int = EMBED_DIM) -> None:
        super().__init__()
        self.img_size = img_size
        self.stem = nn.Sequential(_downscale(3, 32, 5), _downscale(32, 64), ResidualBlock(64))
        self.stride8 = nn.Sequential(_downscale(64, 128), ResidualBlock(128), ResidualBlock(128))
        self.stride16 = nn.Sequential(_downscale(128, 192), ResidualBlock(192), ResidualBlock(192))
        self.stride32 = nn.Sequential(_downscale(192, 256), ResidualBlock(256))
        self.context = nn.TransformerEncoderLayer(
            256, 8, 512, dropout=0.0, batch_first=True, norm_first=True
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, out_chans, 1) for c in (128, 192, 256))
        self.merge = nn.Sequential(
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            nn.GroupNorm(out_chans // 16, out_chans),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised to (B, out_chans, S / 8, S / 8)."""
        fine = self.stride8(self.stem(images))
        middle = self.stride16(fine)
        coarse = self.stride32(middle)
        tokens = self.context(coarse.flatten(2).transpose(1, 2))
        coarse = tokens.transpose(1, 2).reshape(coarse.shape)
        merged = self.laterals[2](coarse)
        for lateral, level in ((self.laterals[1], middle), (self.laterals[0], fine)):
            merged = F.interpolate(merged, scale_factor=2.0, mode="bilinear") + lateral(level)
        return self.merge(merged)


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
        sizes = [box_width, box_width, box_height, box_height]
        relative = [(d / s).clamp(-1.0, 2.0) for d, s in zip(pixels, sizes, strict=True)]
        fine = [(d / STRIDE).clamp(-2.0, 2.0) for d in pixels]
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


class ConvTwoWay(nn.Module):
    """The mask decoder's exchange between prompt tokens and image, cheap on a CPU.

    Takes the place of SAM's ``TwoWayTransformer``. Tokens read the image by cross-attention; the
    image is updated by convolutions that a summary of the tokens modulates (FiLM), instead of by
    attention from every pixel.
    """

    def __init__(self, embed_dim: int = EMBED_DIM, rounds: int = 2) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(_ConvTwoWayRound(embed_dim) for _ in range(rounds))
        self.last = ResidualBlock(embed_dim)
        self.reader = _TokenReader(embed_dim)

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``TwoWayTransformer``: (B, C, H, W), (B, C, H, W), (B, N, C) to tokens and pixels.

        Returns:
            (B, N, C) tokens and (B, H * W, C) pixels.
        """
        image, tokens = image_embedding, point_embedding
        for round_ in self.rounds:
            image, tokens = round_(image, image_pe, tokens, point_embedding)
        image = self.last(image)
        tokens = self.reader(image, image_pe, tokens, point_embedding)
        return tokens, image.flatten(2).transpose(1, 2)


class _ConvTwoWayRound(nn.Module):
    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.block = ResidualBlock(embed_dim)
        self.reader = _TokenReader(embed_dim)
        self.film = nn.Linear(embed_dim, 2 * embed_dim)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, token_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        image = self.block(image)
        tokens = self.reader(image, image_pe, tokens, token_pe)
        scale, shift = self.film(tokens.mean(dim=1))[..., None, None].chunk(2, dim=1)
        return image * (1 + scale) + shift, tokens


class _TokenReader(nn.Module):
    """Tokens attend to the pixels and to each other, then pass through an MLP."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(embed_dim, 4)
        self.mix = nn.TransformerEncoderLayer(
            embed_dim, 4, 2 * embed_dim, dropout=0.0, batch_first=True
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor, token_pe: Tensor) -> Tensor:
        # Sequence first and contiguous: projections of a strided batch are several times slower.
        pixels = image.flatten(2).permute(2, 0, 1).contiguous()
        keys = (pixels + image_pe.flatten(2).permute(2, 0, 1)).contiguous()
        queries = (tokens + token_pe).transpose(0, 1)
        read = self.cross(queries, keys, pixels, need_weights=False)[0].transpose(0, 1)
        return self.mix(self.norm(tokens + read))


def build_sam_mini(image_size: int = IMAGE_SIZE) -> Sam:
    """A new ``sam_mini`` with random weights, a ``segment_anything`` Sam.

    Args:
        image_size: side of the square input; the weights fit any multiple of 32.
    """
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=ConvTwoWay(),
        transformer_dim=EMBED_DIM,
        iou_head_depth=3,
        iou_head_hidden_dim=EMBED_DIM,
    )
    decoder.output_upscaling = nn.Sequential(
        nn.ConvTranspose2d(EMBED_DIM, EMBED_DIM // 3, kernel_size=2, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(EMBED_DIM // 3, EMBED_DIM // 3, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(EMBED_DIM // 3, EMBED_DIM // 8, kernel_size=2, stride=2),
        nn.ReLU(inplace=True),
    )
    sam = Sam(
        image_encoder=ConvEncoder(image_size),
        prompt_encoder=DensePromptEncoder(EMBED_DIM, image_size // STRIDE, image_size),
        mask_decoder=decoder,
    )
    return sam.to(memory_format=torch.channels_last).eval()  # a third faster on CPUs
