"""The mask decoder of a ``segment_anything`` model, faster; its masks to rounding.

A prompt is a handful of tokens beside thousands of pixels, and most of what the decoder multiplies
are projections of the pixels. A token's product with a projected pixel is the product of the pixel
with the token sent through the transposed projection, and a weighted mean of projected pixels is
the projection of the weighted mean: so the tokens are projected, and the pixels are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import (
    Attention,
    TwoWayAttentionBlock,
    TwoWayTransformer,
)
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.errors import InputError, check_choice, check_range
from samrot.segmenters.derived import Derived, in_dtype
from samrot.segmenters.fast_encoder import ATTENTIONS, DTYPES

Window = tuple[slice, slice]  # rows and columns of the image embedding


@dataclass(kw_only=True)
class DecoderSettings:
    """How the mask decoder computes; the defaults are segment-anything's own way, bit for bit.

    Args:
        attention: original, or sdpa: PyTorch's scaled dot product attention, with projections moved
            from the pixels to the tokens, and what no prompt changes computed once a photo.
        dtype: float32, or bfloat16 (weights too).
        box_margin: share of a box's size by which its mask may stick out at each side, where no
            points are given; beyond it the mask is not computed, and taken to be empty. None
            computes all of it. Only with attention sdpa.
    """

    attention: str = "original"
    dtype: str = "float32"
    box_margin: float | None = None

    def __post_init__(self) -> None:
        check_choice("attention", self.attention, ATTENTIONS)
        check_choice("dtype", self.dtype, DTYPES)
        if self.box_margin is not None:
            check_range("box_margin", self.box_margin, 0, 100)
            if self.attention != "sdpa":
                raise InputError(
                    f"box_margin is {self.box_margin} with attention {self.attention!r}; set the "
                    "decoder's attention to sdpa"
                )


class FastDecoder:
    """A mask decoder that computes as the settings say, float32 in and out.

    Args:
        decoder: the decoder whose weights are used; it stays as it is.
        settings: how.

    Raises:
        InputError: if the decoder is not of the kind that ``sdpa`` computes.
    """

    def __init__(self, decoder: MaskDecoder, settings: DecoderSettings) -> None:
        if settings.attention == "sdpa" and not isinstance(decoder.transformer, TwoWayTransformer):
            raise InputError(
                "attention of the decoder is sdpa, but the mask decoder has no two-way transformer "
                "of segment-anything; leave it at original"
            )
        self.settings = settings
        self.dtype = DTYPES[settings.dtype]
        self.decoder = Derived(decoder, lambda source: in_dtype(source, self.dtype))

    def windows(self, boxes: Tensor | None, square: int, cells: int) -> list[Window] | None:
        """Where the masks of boxes are computed; None for everywhere.

        Args:
            boxes: (B, 4), XYXY in pixels of the input square.
            square: side of the input square, pixels.
            cells: side of its embedding.
        """
        margin = self.settings.box_margin
        if boxes is None or margin is None:
            return None
        low, high = boxes.cpu().double().unflatten(1, (2, 2)).unbind(1)
        reach = margin * (high - low)
        first = ((low - reach) * cells / square).floor().clamp(0, cells - 1).int()
        last = ((high + reach) * cells / square).ceil().clamp(1, cells).int()
        last = torch.maximum(last, first + 1)
        return [
            (slice(top, bottom), slice(left, right))
            for (left, top), (right, bottom) in zip(first.tolist(), last.tolist(), strict=True)
        ]

    def __call__(
        self,
        *,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        windows: Sequence[Window] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As ``MaskDecoder.forward``, for the prompts of one photo.

        Args:
            image_embeddings: (1, C, h, w).
            image_pe: (1, C, h, w).
            sparse_prompt_embeddings: (B, N, C).
            dense_prompt_embeddings: (B, C, h, w); expanded from one where no prompt has a mask.
            multimask_output: the three masks, instead of the single one.
            windows: rows and columns of the embedding under which each mask is computed; outside,
                its logits are the lowest ones inside. None computes all.

        Returns:
            Low-resolution logits (B, 1 or 3, 4h, 4w) and scores (B, 1 or 3).
        """
        decoder = self.decoder()
        assert isinstance(decoder, MaskDecoder)
        positions, sparse = image_pe.to(self.dtype), sparse_prompt_embeddings.to(self.dtype)
        image, dense = image_embeddings.to(self.dtype), dense_prompt_embeddings.to(self.dtype)
        if self.settings.attention == "original":
            logits, scores = decoder(image, positions, sparse, dense, multimask_output)
            return logits.float(), scores.float()
        alike = len(dense) == 1 or dense_prompt_embeddings.stride(0) == 0
        shared = _Pixels.of(image + dense[:1], positions) if alike else None
        if shared is not None and len(sparse) > 2:  # else it does not pay
            shared.project(decoder.transformer.layers[0])
        size_hw = (image.shape[2], image.shape[3])
        whole = (slice(0, size_hw[0]), slice(0, size_hw[1]))
        # One at a time on a CPU, whose cache then holds what is made of the pixels.
        at_once = 1 if windows is not None or image.device.type == "cpu" else len(sparse)
        parts = []
        for start in range(0, len(sparse), at_once):
            batch = slice(start, start + at_once)
            pixels = shared or _Pixels.of(image + dense[batch], positions)
            window = whole if windows is None else windows[start]
            embedding, tokens, scores = _attend(decoder, pixels, sparse[batch])
            chosen = slice(1, None) if multimask_output else slice(0, 1)
            hyper = [
                mlp(token)
                for mlp, token in zip(
                    decoder.output_hypernetworks_mlps[chosen],
                    tokens[:, chosen].unbind(1),
                    strict=True,
                )
            ]
            inside = embedding.unflatten(1, size_hw)[:, window[0], window[1]]
            logits = _upscale(decoder.output_upscaling, inside, torch.stack(hyper, dim=1))
            parts.append((_framed(logits.float(), window, size_hw), scores[:, chosen].float()))
        logits, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        return logits, scores


@dataclass(eq=False)
class _Pixels:
    """Pixels of a photo, or of one for each prompt: (B or 1, P, C).

    Args:
        content: embeddings.
        placed: embeddings with their positional encoding.
        positions: positional encoding, (1, P, C).
        projected: keys and values for the tokens of the first layer, queries to them, each
            (1, heads, P, c); None where they are not computed once for all prompts.
    """

    content: Tensor
    placed: Tensor
    positions: Tensor
    projected: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def of(cls, embedding: Tensor, positions: Tensor) -> _Pixels:
        """From maps, (B, C, h, w) and (1, C, h, w)."""
        content, positions = (
            part.flatten(2).transpose(1, 2).contiguous() for part in (embedding, positions)
        )
        return cls(content, content + positions, positions)

    def project(self, layer: TwoWayAttentionBlock) -> None:
        """Project them for the first layer."""
        reader, writer = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        self.projected = (
            _heads(reader.k_proj(self.placed), reader),
            _heads(reader.v_proj(self.content), reader),
            _heads(writer.q_proj(self.placed), writer),
        )


def _attend(decoder: MaskDecoder, pixels: _Pixels, sparse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two-way transformer.

    Returns:
        The embedding (B, P, C), tokens of the masks (B, 4, C), scores (B, 4).
    """
    transformer = decoder.transformer
    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    token_positions = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
    tokens = token_positions
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = layer.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_positions
            tokens = tokens + layer.self_attn(placed, placed, tokens)
        tokens = layer.norm1(tokens)
        read = _read(layer.cross_attn_token_to_image, tokens + token_positions, pixels)
        tokens = layer.norm2(tokens + read)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        written = _write(layer.cross_attn_image_to_token, pixels, tokens + token_positions, tokens)
        content = layer.norm4(written)
        pixels = _Pixels(content, content + pixels.positions, pixels.positions)
    read = _read(transformer.final_attn_token_to_image, tokens + token_positions, pixels)
    tokens = transformer.norm_final_attn(tokens + read)
    scores = decoder.iou_prediction_head(tokens[:, 0])
    return pixels.content, tokens[:, 1 : 1 + decoder.num_mask_tokens], scores


def _read(attention: Attention, queries: Tensor, pixels: _Pixels) -> Tensor:
    """Tokens attend to the pixels: queries (B, N, C) to (B, N, C)."""
    heads = attention.num_heads
    if pixels.projected is not None:
        keys, values, _ = pixels.projected
        batch = len(queries)
        read = F.scaled_dot_product_attention(
            _heads(attention.q_proj(queries), attention),
            keys.expand(batch, -1, -1, -1),
            values.expand(batch, -1, -1, -1),
        )
        return attention.out_proj(read.transpose(1, 2).flatten(2))
    # The bias of the keys adds the same to all scores of a token, which softmax does not see.
    back = _through(attention.q_proj(queries), attention.k_proj.weight, heads)
    batch = len(queries)
    read = F.scaled_dot_product_attention(
        back.flatten(1, 2),
        pixels.placed.expand(batch, -1, -1),
        pixels.content.expand(batch, -1, -1),
        scale=(attention.internal_dim // heads) ** -0.5,
    ).unflatten(1, (heads, -1))
    weight = attention.v_proj.weight.unflatten(0, (heads, -1))
    values = torch.einsum("bhnd,hcd->bnhc", read, weight).flatten(2)
    return attention.out_proj(values + attention.v_proj.bias)


def _write(attention: Attention, pixels: _Pixels, keys: Tensor, values: Tensor) -> Tensor:
    """Pixels attend to the tokens: keys and values (B, N, C) to the pixels after, (B, P, C)."""
    heads, batch = attention.num_heads, len(keys)
    scale = (attention.internal_dim // heads) ** -0.5
    keys = attention.k_proj(keys) * scale
    if pixels.projected is not None:
        scores = _heads(keys, attention) @ pixels.projected[2].transpose(2, 3)  # (B, heads, N, P)
    else:
        back = _through(keys, attention.q_proj.weight, heads)
        bias = (keys * attention.q_proj.bias).unflatten(2, (heads, -1)).sum(-1).transpose(1, 2)
        placed = pixels.placed.expand(batch, -1, -1).transpose(1, 2)
        scores = torch.baddbmm(bias.reshape(batch, -1, 1), back.flatten(1, 2), placed)
        scores = scores.unflatten(1, (heads, -1))
    shares = scores.softmax(dim=2).flatten(1, 2).transpose(1, 2)  # (B, P, heads * N)
    values = attention.v_proj(values).unflatten(2, (heads, -1))
    weight = attention.out_proj.weight.unflatten(1, (heads, -1))
    written = torch.einsum("bnhc,dhc->bhnd", values, weight).flatten(1, 2)
    # The shares of each head add up to 1: its bias can ride on any one of them.
    written[:, : keys.shape[1]] += attention.out_proj.bias
    return torch.baddbmm(pixels.content.expand(batch, -1, -1), shares, written)


def _through(projected: Tensor, weight: Tensor, heads: int) -> Tensor:
    """Projected tokens (B, N, heads * c) through the transpose of a projection of pixels.

    Args:
        projected: tokens.
        weight: weight of the projection, (heads * c, C).
        heads: number of heads.

    Returns:
        (B, heads, N, C), whose products with pixels are those of the tokens with projected pixels.
    """
    by_head = weight.unflatten(0, (heads, -1))
    return torch.einsum("bnhc,hcd->bhnd", projected.unflatten(2, (heads, -1)), by_head)


def _heads(projected: Tensor, attention: Attention) -> Tensor:
    """(B, N, heads * c) to (B, heads, N, c)."""
    return projected.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def _upscale(upscaling: Any, embedding: Tensor, hyper: Tensor) -> Tensor:
    """Logits (B, M, 4h, 4w) from an embedding (B, h, w, C) and weights of the masks (B, M, c)."""
    first, norm, activation, second, last_activation = upscaling
    fine = _spread(first, embedding.flatten(1, 2))
    fine = activation(F.layer_norm(fine, fine.shape[-1:], norm.weight, norm.bias, norm.eps))
    finer = last_activation(_spread(second, fine))  # (B, 16 * h * w, c)
    logits = hyper @ finer.transpose(1, 2)
    height, width = embedding.shape[1:3]
    logits = logits.unflatten(2, (height, width, 2, 2, 2, 2)).permute(0, 1, 2, 4, 6, 3, 5, 7)
    return logits.flatten(5).flatten(2, 4)


def _spread(conv: nn.ConvTranspose2d, pixels: Tensor) -> Tensor:
    """(B, P, C) to (B, 4 * P, c): a transposed convolution whose stride is its size."""
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return (pixels @ weight).unflatten(2, (4, -1)).add_(conv.bias).flatten(1, 2)


def _framed(logits: Tensor, window: Window, size_hw: tuple[int, int]) -> Tensor:
    """Logits within a window, (B, M, ., .), to those of all of the square, (B, M, 4h, 4w)."""
    rows, columns = window
    if (rows.stop - rows.start, columns.stop - columns.start) == size_hw:
        return logits
    framed = logits.amin(dim=(2, 3), keepdim=True).repeat(1, 1, 4 * size_hw[0], 4 * size_hw[1])
    framed[:, :, 4 * rows.start : 4 * rows.stop, 4 * columns.start : 4 * columns.stop] = logits
    return framed
