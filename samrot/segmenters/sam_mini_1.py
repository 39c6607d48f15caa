"""The first ``sam_mini``: five million parameters, an encoder from random weights.

Checkpoints of samrot 0.1.0 are of this kind. The class and the interfaces are SAM's, with a
convolutional encoder whose embedding is at stride 8, and a mask decoder whose image side is
convolutional.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.segmenters.dense_prompts import DensePromptEncoder
from samrot.segmenters.token_reader import TokenReader

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
        self.reader = TokenReader(embed_dim)

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
        self.reader = TokenReader(embed_dim)
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


def build_sam_mini_1(image_size: int = IMAGE_SIZE) -> Sam:
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
