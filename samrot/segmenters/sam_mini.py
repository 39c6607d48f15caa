"""``sam_mini``: a ``segment_anything`` Sam of three million parameters that trains on a CPU.

The class and the interfaces are SAM's. What differs is for little data and few cores: the image
encoder is an EfficientNet-Lite with a feature pyramid, to start from ImageNet weights; prompts are
also drawn into the dense embedding, so that "inside the box" need not be learned through attention;
and the image side of the mask decoder is convolutional, at stride 16, with details added as it is
upscaled. Finer levels of the pyramid ride in the channels of the one embedding that SAM has.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor, nn
from torch.nn import functional as F

from samrot import weights
from samrot.layers.efficientnet_lite import EfficientNetLite
from samrot.segmenters.dense_prompts import DensePromptEncoder
from samrot.segmenters.token_reader import TokenReader

IMAGE_SIZE = 512
STRIDE = 16
EMBED_DIM = 128
MIDDLE_DIM, FINE_DIM = 48, 16  # channels at strides 8 and 4
VARIANT, STAGES, LAST_BLOCKS = 0, 6, 2  # of EfficientNet-Lite: two blocks of the sixth stage


class ConvBlock(nn.Module):
    """A depthwise convolution and two pointwise ones, around a shortcut (Liu et al. 2022)."""

    def __init__(self, channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels),
            nn.GroupNorm(channels // 16, channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.body(x)


class PyramidEncoder(nn.Module):
    """EfficientNet-Lite with a feature pyramid; three of its levels in one embedding.

    Args:
        img_size: side of the square input, a multiple of 32, as ``Sam`` expects to find it.
    """

    def __init__(self, img_size: int = IMAGE_SIZE) -> None:
        super().__init__()
        self.img_size = img_size
        self.features = EfficientNetLite(VARIANT, STAGES)
        last = self.features.stages[-1]
        assert isinstance(last, nn.Sequential)
        self.features.stages[-1] = last[:LAST_BLOCKS]
        channels = {4: 24, 8: 40, 16: 112, 32: self.features.channels}
        widths = {4: FINE_DIM, 8: MIDDLE_DIM, 16: EMBED_DIM, 32: EMBED_DIM}
        self.laterals = nn.ModuleDict(
            {str(stride): nn.Conv2d(channels[stride], widths[stride], 1) for stride in channels}
        )
        self.context = ConvBlock(EMBED_DIM)
        self.merge = nn.Sequential(ConvBlock(EMBED_DIM), nn.GroupNorm(8, EMBED_DIM))
        self.to_middle = nn.Conv2d(EMBED_DIM, MIDDLE_DIM, 1)
        self.to_fine = nn.Conv2d(MIDDLE_DIM, FINE_DIM, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised to (B, C, S / 16, S / 16); see ``levels``."""
        at_stride = {}
        features = self.features.stem(images.contiguous(memory_format=torch.channels_last))
        for stage in self.features.stages:
            features = stage(features)
            at_stride[images.shape[-1] // features.shape[-1]] = features  # the last one counts
        laterals = {
            int(stride): conv(at_stride[int(stride)]) for stride, conv in self.laterals.items()
        }
        coarse = self.merge(laterals[16] + _twice(self.context(laterals[32])))
        middle = laterals[8] + _twice(self.to_middle(coarse))
        fine = laterals[4] + _twice(self.to_fine(middle))
        return torch.cat([coarse, F.pixel_unshuffle(middle, 2), F.pixel_unshuffle(fine, 4)], dim=1)


def levels(embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The levels that ride in an embedding: (B, C, h, w), (B, ., 2h, 2w), (B, ., 4h, 4w)."""
    coarse, middle, fine = embedding.split([EMBED_DIM, 4 * MIDDLE_DIM, 16 * FINE_DIM], dim=1)
    return coarse, F.pixel_shuffle(middle, 2), F.pixel_shuffle(fine, 4)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


class MiniDecoder(MaskDecoder):
    """SAM's mask decoder over a convolutional image side, with finer levels added on the way up."""

    def __init__(self) -> None:
        super().__init__(
            num_multimask_outputs=3,
            transformer=ConvTwoWay(),
            transformer_dim=EMBED_DIM,
            iou_head_depth=3,
            iou_head_hidden_dim=EMBED_DIM,
        )
        self.output_upscaling = nn.ModuleDict(
            {
                "middle": nn.ConvTranspose2d(EMBED_DIM, MIDDLE_DIM, 2, 2),
                "refine": nn.Sequential(
                    nn.GroupNorm(3, MIDDLE_DIM), nn.ReLU(inplace=True), ConvBlock(MIDDLE_DIM, 3)
                ),
                "fine": nn.ConvTranspose2d(MIDDLE_DIM, FINE_DIM, 2, 2),
                "last": nn.Sequential(
                    nn.ReLU(inplace=True),
                    nn.Conv2d(FINE_DIM, FINE_DIM, 3, padding=1),
                    nn.ReLU(inplace=True),
                ),
            }
        )

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As ``MaskDecoder.predict_masks``; the embedding is of one photo, or one for each prompt.

        Returns:
            (B, 4, h, w) logits, the single mask first, and (B, 4) predicted IoUs.
        """
        coarse, middle, fine = levels(image_embeddings)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        batch = len(sparse_prompt_embeddings)
        tokens = torch.cat([own.expand(batch, -1, -1), sparse_prompt_embeddings], dim=1)
        tokens, image = self.transformer(coarse + dense_prompt_embeddings, image_pe, tokens)
        upscaling = self.output_upscaling
        image = upscaling["refine"](upscaling["middle"](image) + middle)
        image = upscaling["last"](upscaling["fine"](image) + fine)
        filters = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (filters @ image.flatten(2)).unflatten(2, image.shape[2:])
        return masks, self.iou_prediction_head(tokens[:, 0])


class ConvTwoWay(nn.Module):
    """The exchange between prompt tokens and image: tokens read it, convolutions update it.

    What the tokens say modulates the image by a scale and a shift (FiLM), in place of attention
    from every pixel.

    Args:
        rounds: times that both are updated.
    """

    def __init__(self, rounds: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvBlock(EMBED_DIM) for _ in range(rounds + 1))
        self.readers = nn.ModuleList(TokenReader(EMBED_DIM) for _ in range(rounds + 1))
        self.films = nn.ModuleList(nn.Linear(EMBED_DIM, 2 * EMBED_DIM) for _ in range(rounds))
        for parameter in self.films.parameters():  # at first the image stays as it is
            nn.init.zeros_(parameter)

    def forward(self, image: Tensor, image_pe: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w), (1, C, h, w) and (B, N, C) to tokens (B, N, C) and image (B, C, h, w)."""
        tokens = prompts
        image_pe = image_pe[:1]
        for block, reader, film in zip(self.blocks, self.readers, self.films, strict=False):
            image = block(image)
            tokens = reader(image, image_pe, tokens, prompts)
            scale, shift = film(tokens.mean(dim=1))[..., None, None].chunk(2, dim=1)
            image = image * (1 + scale) + shift
        image = self.blocks[-1](image)
        return self.readers[-1](image, image_pe, tokens, prompts), image


def build_sam_mini(image_size: int = IMAGE_SIZE) -> Sam:
    """A new ``sam_mini`` with random weights, a ``segment_anything`` Sam.

    Args:
        image_size: side of the square input; the weights fit any multiple of 32.
    """
    sam = Sam(
        image_encoder=PyramidEncoder(image_size),
        prompt_encoder=DensePromptEncoder(EMBED_DIM, image_size // STRIDE, image_size),
        mask_decoder=MiniDecoder(),
    )
    return sam.to(memory_format=torch.channels_last).eval()  # faster on CPUs


def load_imagenet_encoder(sam: Sam) -> None:
    """Fill the features of the encoder with the published ImageNet weights.

    Raises:
        MissingFileError: if the package of the weights is not installed.
    """
    sam.image_encoder.features.load_published(
        weights.imagenet_lite(VARIANT), sam.pixel_mean, sam.pixel_std
    )
