"""How the prompt tokens of ``sam_mini`` read the image."""

from __future__ import annotations

from torch import Tensor, nn


class TokenReader(nn.Module):
    """Tokens attend to the pixels and to each other, then pass through an MLP.

    Args:
        embed_dim: channels of both.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(embed_dim, 4)
        self.mix = nn.TransformerEncoderLayer(
            embed_dim, 4, 2 * embed_dim, dropout=0.0, batch_first=True
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor, token_pe: Tensor) -> Tensor:
        """(B, C, h, w), (B or 1, C, h, w), and (B, N, C) twice, to tokens, (B, N, C)."""
        # Sequence first and contiguous: projections of a strided batch are several times slower.
        pixels = image.flatten(2).permute(2, 0, 1).contiguous()
        keys = (pixels + image_pe.flatten(2).permute(2, 0, 1)).contiguous()
        queries = (tokens + token_pe).transpose(0, 1)
        read = self.cross(queries, keys, pixels, need_weights=False)[0].transpose(0, 1)
        return self.mix(self.norm(tokens + read))
