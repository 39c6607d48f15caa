"""``samrot export``: canonicalizer, image encoder and mask decoder as ONNX files."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samrot.canonicalizers import CanonicalizerChoice, load_canonicalizer
from samrot.canonicalizers.tilt import TiltCanonicalizer
from samrot.errors import InputError
from samrot.files import write_text
from samrot.robust.onnx_models import DecoderModel, EncoderModel, PoseModel
from samrot.segmenters import SamSegmenter, SegmenterWeights, check_plain_sam, load_segmenter

TOLERANCE = 1e-3  # largest difference from torch, as a share of the largest value
EXTERNAL_BYTES = 1.5e9  # an ONNX file holds 2 GB at most; larger weights lie beside it


@dataclass(kw_only=True)
class ExportSettings:
    """Settings of ``samrot export``.

    Args:
        out: folder of the files.
        segmenter: sam_mini, sam_vit_b, sam_vit_l or sam_vit_h.
        canonicalizer: which canonicalizer.
    """

    out: str
    segmenter: SegmenterWeights = field(default_factory=SegmenterWeights)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)


@dataclass(frozen=True)
class Network:
    """One network to export.

    Args:
        module: the network.
        inputs: an example of each argument of its ``forward``, by name.
        other_inputs: another example, of other sizes where these may vary, to compare on.
        outputs: names.
        dynamic: input -> axis -> name.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    other_inputs: dict[str, Tensor]
    outputs: list[str]
    dynamic: dict[str, dict[int, str]]


def export(settings: ExportSettings) -> dict[str, Any]:
    """Write ``canonicalizer.onnx``, ``encoder.onnx``, ``decoder.onnx`` and ``export.json``.

    Each file is run by onnxruntime, on inputs of another size than those that it was traced with,
    and compared to torch, before it takes its name.

    Returns:
        What ``export.json`` holds.

    Raises:
        InputError: if the segmenter is no ``segment_anything`` model, onnx, onnxscript or
            onnxruntime is missing, or a file's results differ from torch's.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; pip install 'samrot[onnx]'") from error
    segmenter = check_plain_sam(
        load_segmenter(settings.segmenter.name, checkpoint=settings.segmenter.checkpoint),
        "the segmenter is to be exported",
        "expected sam_mini, sam_vit_b, sam_vit_l or sam_vit_h",
    )
    canonicalizer = load_canonicalizer(settings.canonicalizer.name)
    if isinstance(canonicalizer, TiltCanonicalizer) or not canonicalizer.group.is_exact:
        raise InputError(
            f"canonicalizer {settings.canonicalizer.name} finds tilts, which are not exported; "
            "export one of C4 or D4, the base if it has one"
        )
    sam = segmenter.sam
    side = sam.image_encoder.img_size
    networks = {
        "canonicalizer": Network(
            PoseModel(canonicalizer),
            {"image": _noise(48, 64)},
            {"image": _noise(301, 200)},
            ["pose_logits"],
            {"image": {0: "height", 1: "width"}},
        ),
        "encoder": Network(
            EncoderModel(sam),
            {"image": _noise(side // 4 * 3, side)},
            {"image": _noise(side, side // 2 + 1)},
            ["image_embeddings"],
            {"image": {0: "height", 1: "width"}},
        ),
        "decoder": _decoder(segmenter),
    }
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out) as scratch:
        folder = Path(scratch)
        written = {name: _write(network, folder, name) for name, network in networks.items()}
        for path in sorted(folder.iterdir()):
            path.replace(out / path.name)
    content: dict[str, Any] = {
        "segmenter": segmenter.name,
        "canonicalizer": settings.canonicalizer.name,
        "side": side,
        "mask_threshold": float(sam.mask_threshold),
        "torch": torch.__version__,
        "networks": written,
    }
    write_text(out / "export.json", json.dumps(content, indent=2))
    return content


def _decoder(segmenter: SamSegmenter) -> Network:
    sam = segmenter.sam
    embedding = segmenter.encode(_noise(48, 64).numpy()).features
    side_of_masks = sam.prompt_encoder.mask_input_size[0]
    coords = torch.tensor([[[8.0, 9.0], [300.0, 200.0], [100.0, 90.0]]])
    inputs = {
        "image_embeddings": embedding,
        "point_coords": coords,
        "point_labels": torch.tensor([[2.0, 3.0, 1.0]]),
        "mask_input": torch.zeros(1, 1, side_of_masks, side_of_masks),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([48.0, 64.0]),
    }
    others = {
        "image_embeddings": embedding,
        "point_coords": coords[:, 2:] + 1.5,
        "point_labels": torch.tensor([[0.0]]),
        "mask_input": torch.linspace(-5, 5, side_of_masks**2).reshape(1, 1, side_of_masks, -1),
        "has_mask_input": torch.ones(1),
        "orig_im_size": torch.tensor([77.0, 40.0]),
    }
    return Network(
        DecoderModel(sam, return_single_mask=False),
        inputs,
        others,
        ["masks", "iou_predictions", "low_res_masks"],
        {"point_coords": {1: "points"}, "point_labels": {1: "points"}},
    )


def _write(network: Network, folder: Path, name: str) -> dict[str, Any]:
    """Export one network, and compare the file to it."""
    module = network.module.eval()
    path = folder / f"{name}.onnx"
    num_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    with _exportable():
        torch.onnx.export(
            module,
            tuple(network.inputs.values()),
            path,
            dynamo=True,
            input_names=list(network.inputs),
            output_names=network.outputs,
            dynamic_shapes={
                given: {
                    axis: torch.export.Dim(axis_name, min=1)
                    for axis, axis_name in network.dynamic.get(given, {}).items()
                }
                for given in network.inputs
            },
            external_data=num_bytes > EXTERNAL_BYTES,
            verbose=False,
        )
        difference = _difference(path, network)
    if not difference < TOLERANCE:
        raise InputError(
            f"{path.name} differs from torch by {difference:.2g}, more than {TOLERANCE:g}; export "
            "with the versions of constraints.txt"
        )
    return {
        "file": path.name,
        "inputs": {key: list(value.shape) for key, value in network.inputs.items()},
        "dynamic": {key: list(axes.values()) for key, axes in network.dynamic.items()},
        "outputs": network.outputs,
        "difference": difference,
    }


def _difference(path: Path, network: Network) -> float:
    """Largest difference between file and network, as a share of the largest value."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for inputs in (network.inputs, network.other_inputs):
        expected = network.module(*inputs.values())
        if isinstance(expected, Tensor):
            expected = (expected,)
        outputs = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        for want, got in zip(expected, outputs, strict=True):
            scale = max(1e-3, float(want.abs().max()))
            # NaN, which Python's max would pass over, stays.
            worst = float(
                np.maximum(worst, float((want - torch.from_numpy(got)).abs().max()) / scale)
            )
    return worst


@contextmanager
def _exportable() -> Iterator[None]:
    """Transformer layers step by step, not as one fused operation; and no chatter."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    silenced = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"torch cannot export this ({reason}); use the versions of constraints.txt"
        ) from error
    finally:
        logging.disable(silenced)
        torch.backends.mha.set_fastpath_enabled(fused)


def _noise(height: int, width: int) -> Tensor:
    generator = np.random.default_rng([height, width])
    return torch.from_numpy(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
