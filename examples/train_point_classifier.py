"""Train a classifier of one's own for point clouds, behind a canonicalizer, and turn its input.

python examples/train_point_classifier.py STEPS
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import samrot
from samrot.canonicalizers.vn_rotation import VNRotation

if len(sys.argv) != 2:
    sys.exit(__doc__)
SIZES = torch.tensor([[1.0, 1.0, 0.1], [0.1, 0.1, 1.0], [0.5, 0.5, 0.5]])  # plate, pole, ball


class Classifier(nn.Sequential):
    """Anything from (B, N, 3) to scores, (B, K)."""

    def forward(self, clouds: Tensor) -> Tensor:
        """The maximum, over the points, of what is said of each."""
        return super().forward(clouds).amax(dim=1)


torch.manual_seed(0)
network = Classifier(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, len(SIZES)))
module = samrot.CanonicalizedModule(network, VNRotation(channels=16), "pointcloud")
optimizer = torch.optim.Adam(module.parameters(), 1e-2)
for _ in range(int(sys.argv[1])):
    labels = torch.randint(len(SIZES), (32,))
    clouds = torch.randn(32, 64, 3) * SIZES[labels, None]
    scores, rotations = module(clouds)
    prior = ((rotations - torch.eye(3)) ** 2).sum(dim=(1, 2)).mean()  # the clouds lie alike
    loss = F.cross_entropy(scores, labels) + 0.1 * prior
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
turn, _ = torch.linalg.qr(torch.randn(3, 3))
turn = turn * torch.linalg.det(turn)
with torch.no_grad():
    as_it_is, turned = module(clouds)[0], module(clouds @ turn.T)[0]
print(f"accuracy {(as_it_is.argmax(1) == labels).float().mean():.2f}; turned at random, scores "
      f"change by at most {(turned - as_it_is).abs().max():.1e}")  # fmt: skip
