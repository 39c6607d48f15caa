"""The residual networks of He et al. for photos of 32 x 32 (arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A: every second pixel, and zeros)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, out_channels - in_channels
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride), rounded up."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1 or self.added:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return F.relu(residual + x)


class CifarResNet(nn.Module):
    """A residual network of 6n + 2 layers; the names of its weights are those published.

    Args:
        blocks: n, blocks at each of the three scales.
        num_classes: number of classes.
    """

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _scale(WIDTHS[0], WIDTHS[0], blocks, 1)
        self.layer2 = _scale(WIDTHS[0], WIDTHS[1], blocks, 2)
        self.layer3 = _scale(WIDTHS[1], WIDTHS[2], blocks, 2)
        self.linear = nn.Linear(WIDTHS[2], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised to scores, (B, K)."""
        features = self.layer1(F.relu(self.bn1(self.conv1(images))))
        features = self.layer3(self.layer2(features))
        return self.linear(features.mean(dim=(-2, -1)))


def _scale(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Block(out_channels, out_channels, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Block(in_channels, out_channels, stride), *rest)
