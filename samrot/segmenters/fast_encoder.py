"""The image encoder of a ``segment_anything`` model, faster; its masks to rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling.image_encoder import Attention, ImageEncoderViT, get_rel_pos
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.errors import InputError, check_choice
from samrot.segmenters.derived import Derived, in_dtype

ATTENTIONS = ("original", "sdpa")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(kw_only=True)
class EncoderSettings:
    """How the image encoder computes; the defaults are segment-anything's own way, bit for bit.

    Args:
        attention: original, or sdpa (PyTorch's scaled dot product attention).
        dtype: float32, or bfloat16 (weights too).
        channels_last: memory layout of convolutions.
        compile: compiled by torch.compile, which takes its time at the first photo.
    """

    attention: str = "original"
    dtype: str = "float32"
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        check_choice("attention", self.attention, ATTENTIONS)
        check_choice("dtype", self.dtype, DTYPES)


class SdpaAttention(nn.Module):
    """``Attention`` with decomposed relative positions, by scaled dot product attention.

    The bias of query i and key j is a_i[row of j] + b_i[column of j], a dot product of (a_i, b_i)
    with the one-hot row and column of j. Appended to queries and keys, it needs no matrix of all
    pairs, so that the memory-saving kernels, which take no such matrix, can be used.

    Args:
        attention: the attention whose weights are used.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        own = self.attention
        batch, height, width, _ = x.shape
        qkv = own.qkv(x).reshape(batch, height * width, 3, own.num_heads, -1)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, H * W, c)
        channels = values.shape[-1]
        keys = keys * own.scale
        if own.use_rel_pos:
            rows = get_rel_pos(height, height, own.rel_pos_h)
            columns = get_rel_pos(width, width, own.rel_pos_w)
            grid = queries.unflatten(2, (height, width))
            by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, rows).flatten(2, 3)
            by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, columns).flatten(2, 3)
            row_of = torch.eye(height, dtype=x.dtype, device=x.device).repeat_interleave(width, 0)
            column_of = torch.eye(width, dtype=x.dtype, device=x.device).repeat(height, 1)
            place = torch.cat([row_of, column_of], dim=1).expand(batch, own.num_heads, -1, -1)
            queries = torch.cat([queries, by_row, by_column], dim=-1)
            keys = torch.cat([keys, place], dim=-1)
            values = F.pad(values, (0, height + width))  # the kernels want one width
        read = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :channels]
        return own.proj(read.transpose(1, 2).reshape(batch, height, width, -1))


class FastEncoder:
    """An image encoder that computes as the settings say, float32 in and out.

    Args:
        encoder: the encoder whose weights are used; it stays as it is.
        settings: how.

    Raises:
        InputError: if the encoder has no attention of the kind that ``sdpa`` replaces.
    """

    def __init__(self, encoder: nn.Module, settings: EncoderSettings) -> None:
        if settings.attention == "sdpa" and not isinstance(encoder, ImageEncoderViT):
            raise InputError(
                "attention is sdpa, but the image encoder is no ViT of segment-anything; leave "
                "it at original"
            )
        self.dtype = DTYPES[settings.dtype]
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.settings = settings
        self.encoder = Derived(encoder, self._derive)
        self.compiler_errors: tuple[type[Exception], ...] = ()
        if settings.compile:
            from torch._dynamo.exc import BackendCompilerFailed  # seconds to import

            self.compiler_errors = (BackendCompilerFailed,)

    def _derive(self, encoder: nn.Module) -> nn.Module:
        own = in_dtype(encoder, self.dtype, channels_last=self.settings.channels_last)
        if self.settings.attention == "sdpa":
            assert isinstance(own, ImageEncoderViT)
            for block in own.blocks:
                block.attn = SdpaAttention(block.attn)
        if self.settings.compile:
            own.compile()
        return own

    def __call__(self, squares: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, C, s, s).

        Raises:
            InputError: if it should be compiled, and cannot be here.
        """
        squares = squares.to(self.dtype, memory_format=self.layout)
        try:
            embeddings: Tensor = self.encoder()(squares)
        except self.compiler_errors as error:
            raise InputError(
                f"compile is true, but torch.compile fails here ({str(error).splitlines()[0]}); it "
                "needs a C++ compiler, for a GPU Triton: install it, or leave compile out"
            ) from error
        return embeddings.float().contiguous()
