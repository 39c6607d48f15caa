"""The canonicalizer of equiadapt, the package of the method's authors.

pip install --target FOLDER --no-deps equiadapt kornia kornia_rs e2cnn hydra-core omegaconf \
    antlr4-python3-runtime==4.9.3
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

THUMBNAIL = 97


def equiadapt_canonicalizer(folder: Path, size_hw: tuple[int, int]) -> Any:
    """Equiadapt's canonicalizer with its escnn wide residual network, for photos of a size."""
    sys.path.append(str(folder))
    from equiadapt.images.canonicalization.discrete_group import (
        GroupEquivariantImageCanonicalization,
    )
    from equiadapt.images.canonicalization_networks import ESCNNWRNEquivariantNetwork
    from omegaconf import OmegaConf

    side = THUMBNAIL - 1
    network = ESCNNWRNEquivariantNetwork(
        (3, side, side), out_channels=32, kernel_size=9, num_layers=3
    )
    options = OmegaConf.create({"beta": 1.0, "input_crop_ratio": 0.9, "resize_shape": side})
    return GroupEquivariantImageCanonicalization(network, options, (3, *size_hw)).eval()
