"""The SAM family of the ``transformers`` library: SAM, SAM-HQ, SAM 2, 2.1 and what follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from samrot.errors import InputError
from samrot.runtime.devices import find_device
from samrot.segmenters.protocol import Encoding, check_remains
from samrot.structures.prompts import Prompts, check_mask_inputs
from samrot.structures.segmentation import Segmentation

MASK_THRESHOLD = 0.0


class _Features(NamedTuple):
    """What the decoder needs of a photo.

    Args:
        embeddings: arguments of the model.
        content_hw: the part of the input square that is the photo.
        padded: the rest of the square is padding (SAM); else the photo was squashed to it (SAM 2).
        low_res_side: side of mask inputs, and of the logits that are returned.
    """

    embeddings: dict[str, Any]
    content_hw: tuple[int, int]
    padded: bool
    low_res_side: int


class TransformersSegmenter:
    """A promptable model of ``transformers`` (``AutoModelForMaskGeneration``).

    SAM and SAM-HQ resize the longest side and pad, SAM 2 squashes to a square: the image processor
    that comes with the model says which, and normalises the pixels.

    Args:
        model: the model.
        image_processor: what comes with it.
        name: name in records.
    """

    predicts_scores = True

    def __init__(self, model: Any, image_processor: Any, name: str) -> None:
        self.model = model.eval()
        self.image_processor = image_processor
        self.name = name

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    def to(self, device: str) -> None:
        """Move the model."""
        self.model.to(device)

    @torch.no_grad()
    def encode(self, image: np.ndarray) -> Encoding:
        """Look at a photo, (H, W, 3) uint8 RGB."""
        size_hw = (image.shape[0], image.shape[1])
        inputs = self.image_processor(images=image, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self.device, self.model.dtype)
        height, width = pixels.shape[-2:]
        padded = "reshaped_input_sizes" in inputs
        if padded:
            height, width = np.asarray(inputs["reshaped_input_sizes"])[0].tolist()
        check_remains(size_hw, (height, width), self.name)
        encoded = self.model.get_image_embeddings(pixels)
        embeddings = {"image_embeddings": encoded}
        if isinstance(encoded, tuple):  # SAM-HQ
            embeddings = {"image_embeddings": encoded[0], "intermediate_embeddings": encoded[1]}
        main = embeddings["image_embeddings"]
        coarsest = main[-1] if isinstance(main, list) else main  # SAM 2 has several scales
        features = _Features(embeddings, (height, width), padded, 4 * coarsest.shape[-1])
        return Encoding(size_hw, features)

    @torch.no_grad()
    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        """Segment what the prompts point at; boxes, points and mask inputs may be combined."""
        side = encoding.features.low_res_side
        check_mask_inputs(prompts, (side, side))
        arguments = self._arguments(encoding, prompts)
        # The decoders pair one mask input with one prompt.
        step = max(1, len(prompts)) if prompts.mask_inputs is None else 1
        decoded = [
            self.model(
                **encoding.features.embeddings,
                **{name: part[:, start : start + step] for name, part in arguments.items()},
                **self._mask_input(prompts, start),
                multimask_output=multimask_output,
            )
            for start in range(0, max(1, len(prompts)), step)
        ]
        low_res = torch.cat([output.pred_masks[0] for output in decoded]).float()
        scores = torch.cat([output.iou_scores[0] for output in decoded]).float()
        # Without prompts the decoder is asked for one mask all the same.
        low_res, scores = low_res[: len(prompts)], scores[: len(prompts)]
        logits = self._upscale(low_res, encoding)
        masks = logits if return_logits else logits > MASK_THRESHOLD
        return Segmentation(masks, scores, low_res)

    def _arguments(self, encoding: Encoding, prompts: Prompts) -> dict[str, Tensor]:
        """Boxes and points as the decoder takes them, in pixels of its input square."""
        (height, width), content_hw = encoding.size_hw, encoding.features.content_hw
        scale_xy = np.array([content_hw[1] / width, content_hw[0] / height])
        arguments = {}
        if prompts.boxes_xyxy is not None and len(prompts):
            arguments["input_boxes"] = self._batched(prompts.boxes_xyxy * np.tile(scale_xy, 2))
        if prompts.point_coords is not None and len(prompts):
            assert prompts.point_labels is not None
            arguments["input_points"] = self._batched(prompts.point_coords * scale_xy)
            labels = torch.as_tensor(prompts.point_labels, dtype=torch.int, device=self.device)
            arguments["input_labels"] = labels[None]
        return arguments

    def _mask_input(self, prompts: Prompts, n: int) -> dict[str, Tensor]:
        masks = prompts.mask_inputs
        return {} if masks is None else {"input_masks": masks[n : n + 1].to(self.device).float()}

    def _batched(self, coordinates: np.ndarray) -> Tensor:
        return torch.as_tensor(coordinates, dtype=self.model.dtype, device=self.device)[None]

    def _upscale(self, low_res: Tensor, encoding: Encoding) -> Tensor:
        """(B, C, h, w) logits of the whole input square to those of the photo, (B, C, H, W)."""
        if encoding.features.padded:
            height, width = encoding.features.content_hw
            side = max(height, width)
            low_res = F.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)
            low_res = low_res[..., :height, :width]
        return F.interpolate(low_res, encoding.size_hw, mode="bilinear", align_corners=False)


def load_transformers(checkpoint: str | Path | None, device: str) -> TransformersSegmenter:
    """A model of the SAM family as ``save_pretrained`` writes it.

    Args:
        checkpoint: folder, or id on the Hugging Face hub (``facebook/sam2.1-hiera-large``).
        device: where it runs.

    Raises:
        InputError: if transformers is not installed, or there is no such complete model there.
    """
    model, processor = _from_pretrained(
        checkpoint, "AutoModelForMaskGeneration", "AutoImageProcessor"
    )
    name = f"{model.config.model_type} ({Path(str(checkpoint)).name})"
    return TransformersSegmenter(model.to(device), processor, name)


def load_video_model(checkpoint: str | Path, device: str) -> tuple[Any, Any]:
    """SAM 2's video model and its processor, as ``save_pretrained`` writes them.

    Args:
        checkpoint: folder, or id on the Hugging Face hub (``facebook/sam2.1-hiera-tiny``).
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``auto``.

    Raises:
        InputError: as ``load_transformers``.
    """
    model, processor = _from_pretrained(checkpoint, "Sam2VideoModel", "Sam2VideoProcessor")
    return model.to(find_device(device)), processor


def _from_pretrained(
    checkpoint: str | Path | None, model_class: str, processor_class: str
) -> tuple[Any, Any]:
    """A model, all of its weights, and what comes with it, by the names of their classes."""
    remedy = (
        "expected a folder that save_pretrained wrote, or a hub id such as facebook/sam-vit-base "
        "or facebook/sam2.1-hiera-large"
    )
    if checkpoint is None:
        raise InputError(f"segmenter transformers needs a checkpoint; {remedy}")
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "transformers is not installed; pip install 'samrot[transformers]'"
        ) from error
    if Path(checkpoint).is_dir() and not (Path(checkpoint) / "config.json").is_file():
        raise InputError(f"checkpoint {checkpoint} holds no config.json; {remedy}")
    try:
        processor = getattr(transformers, processor_class).from_pretrained(
            str(checkpoint), trust_remote_code=False
        )
        model, loading = getattr(transformers, model_class).from_pretrained(
            str(checkpoint),
            output_loading_info=True,
            dtype=torch.float32,
            trust_remote_code=False,  # code that comes with a checkpoint is never run
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"checkpoint {checkpoint} cannot be loaded ({reason}); {remedy}"
        ) from error
    absent = sorted(loading["missing_keys"]) + sorted(loading["mismatched_keys"])
    if absent:
        raise InputError(
            f"checkpoint {checkpoint} lacks {len(absent)} weights of a {type(model).__name__}, "
            f"{absent[0]} first; {remedy}"
        )
    return model.requires_grad_(False), processor
