"""``segment_anything`` models as segmenters, bit for bit what ``SamPredictor`` computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn

from samrot import weights
from samrot.errors import InputError, MissingFileError
from samrot.segmenters.fast_decoder import DecoderSettings, FastDecoder
from samrot.segmenters.fast_encoder import EncoderSettings, FastEncoder
from samrot.segmenters.protocol import Encoding, Segmenter, check_remains
from samrot.structures.prompts import Prompts, check_mask_inputs
from samrot.structures.segmentation import Segmentation

_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder", "preprocess", "mask_threshold")
_DECODER_TAKES = {
    "image_embeddings", "image_pe", "sparse_prompt_embeddings", "dense_prompt_embeddings",
    "multimask_output",
}  # fmt: skip
_HQ_DECODER_TAKES = _DECODER_TAKES | {"interm_embeddings", "hq_token_only"}


def as_segmenter(model: Any) -> Segmenter:
    """A segmenter, or a Sam: segment_anything's, another package's of like parts, or wrapped.

    ``torch.compile`` and ``DataParallel`` are unwrapped: samrot calls the parts of the model.

    Raises:
        InputError: if it is none of these.
    """
    for wrapper in ("_orig_mod", "module"):
        model = getattr(model, wrapper, model) if isinstance(model, nn.Module) else model
    if all(hasattr(model, name) for name in _PARTS):
        takes = signature(model.mask_decoder.forward).parameters
        needs = {name for name, taken in takes.items() if taken.default is taken.empty}
        if needs <= _DECODER_TAKES <= takes.keys():
            return SamSegmenter(model)
        if needs <= _HQ_DECODER_TAKES <= takes.keys():
            return SamHqSegmenter(model)
    elif hasattr(model, "encode") and hasattr(model, "decode"):
        segmenter: Segmenter = model
        return segmenter
    kind = type(model)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    raise InputError(
        f"segmenter is a {module}{kind.__qualname__}; expected what samrot.load_segmenter returns, "
        "or a segment_anything Sam model"
    )


def check_plain_sam(segmenter: Segmenter, purpose: str, remedy: str) -> SamSegmenter:
    """Refuse what is no ``segment_anything`` model; SAM-HQ, which has other parts, is none either.

    Raises:
        InputError: saying what it was wanted for, and the remedy.
    """
    if type(segmenter) is not SamSegmenter:
        raise InputError(f"{purpose}, but {segmenter.name} is no segment_anything model; {remedy}")
    return segmenter


class SamSegmenter:
    """Any ``segment_anything.modeling.Sam``: same resize, normalisation, padding and threshold.

    Args:
        sam: the model; used as it is, on the device it is on.
        name: name in records.
        encoder: how the image encoder computes; the default is exactly segment-anything's way.
        decoder: how the mask decoder computes; the default likewise.
    """

    predicts_scores = True
    num_candidates = 3  # masks of each prompt that are more than one
    trained_on: np.ndarray | None = None  # (N,) uint64, fingerprints of photos; None: not known

    def __init__(
        self,
        sam: Sam,
        name: str = "sam",
        *,
        encoder: EncoderSettings | None = None,
        decoder: DecoderSettings | None = None,
    ) -> None:
        self.sam = sam
        self.fast_encoder: FastEncoder | None = None
        if encoder is not None and encoder != EncoderSettings():
            self.fast_encoder = FastEncoder(sam.image_encoder, encoder)
        self.fast_decoder: FastDecoder | None = None
        if decoder is not None and decoder != DecoderSettings():
            self.fast_decoder = FastDecoder(sam.mask_decoder, decoder)
        self.name = name
        self.transform = ResizeLongestSide(sam.image_encoder.img_size)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.sam.device
        return device

    def to(self, device: str) -> None:
        """Move the model."""
        self.sam.to(device)

    def encode(self, image: np.ndarray) -> Encoding:
        """Look at a photo, (H, W, 3) uint8 RGB; its longest side becomes the model's input side.

        Raises:
            InputError: if the photo is so narrow that less than half a pixel of it would remain.
        """
        return self.encode_batch([image])[0]

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[Encoding]:
        """Look at photos of any sizes at once; see ``encode``."""
        sizes_hw = [(image.shape[0], image.shape[1]) for image in images]
        for size_hw in sizes_hw:
            check_remains(size_hw, self._input_size(size_hw), self.name)
        # The numpy path: apply_image_torch of segment-anything 1.0 resizes to a wrong shape.
        resized = [
            torch.as_tensor(self.transform.apply_image(image), device=self.device)
            for image in images
        ]
        return self._encode_resized([pixels.permute(2, 0, 1) for pixels in resized], sizes_hw)

    def encode_resized(self, pixels: Tensor, size_hw: tuple[int, int]) -> Encoding:
        """Look at a photo that was resized already, as ``SamPredictor.set_torch_image``.

        Args:
            pixels: (1, 3, H, W), 0..255, the longest side that of the model's input.
            size_hw: (height, width) of the photo before.
        """
        return self._encode_resized(list(pixels.to(self.device)), [size_hw])[0]

    @torch.no_grad()
    def _encode_resized(
        self, images: list[Tensor], sizes_hw: list[tuple[int, int]]
    ) -> list[Encoding]:
        squares = torch.stack([self.sam.preprocess(image.contiguous()) for image in images])
        return [
            Encoding(size, features)
            for size, features in zip(sizes_hw, self._features(squares), strict=True)
        ]

    def _features(self, squares: Tensor) -> Sequence[Any]:
        """What the decoder needs of each photo; preprocessed, (B, 3, S, S)."""
        return (self.fast_encoder or self.sam.image_encoder)(squares).split(1)

    def _of_image(self, features: Any) -> dict[str, Any]:
        """Arguments of the decoder that are the photo's."""
        return {"image_embeddings": features}

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
        check_mask_inputs(prompts, self._low_res_size())
        if len(prompts) == 0:  # which MaskDecoder does not take
            return self._no_masks(encoding, multimask_output, return_logits)
        points, boxes = None, None
        if prompts.point_coords is not None:
            coords = self.transform.apply_coords(prompts.point_coords, encoding.size_hw)
            labels = torch.as_tensor(prompts.point_labels, dtype=torch.int, device=self.device)
            points = (self._to_device(coords), labels)
        if prompts.boxes_xyxy is not None:
            boxes = self._to_device(
                self.transform.apply_boxes(prompts.boxes_xyxy, encoding.size_hw)
            )
        mask_inputs = prompts.mask_inputs
        sparse_embeddings, dense_embeddings = self.sam.prompt_encoder(
            points=points,
            boxes=boxes,
            masks=None if mask_inputs is None else mask_inputs.to(self.device, torch.float),
        )
        embeddings = {
            **self._of_image(encoding.features),
            "image_pe": self.sam.prompt_encoder.get_dense_pe(),
            "sparse_prompt_embeddings": sparse_embeddings,
            "dense_prompt_embeddings": dense_embeddings,
        }
        if self.fast_decoder is None:
            low_res, scores = self.sam.mask_decoder(**embeddings, multimask_output=multimask_output)
        else:
            side, grid = self.sam.image_encoder.img_size, encoding.features.shape[-1]
            windows = self.fast_decoder.windows(None if points else boxes, side, grid)
            low_res, scores = self.fast_decoder(
                **embeddings, multimask_output=multimask_output, windows=windows
            )
        # One prompt at a time: logits of full size are large.
        masks = torch.empty(
            (*scores.shape, *encoding.size_hw),
            dtype=torch.float if return_logits else torch.bool,
            device=self.device,
        )
        for mask, logits in zip(masks, low_res.split(1), strict=True):
            full = self._full_size(logits, encoding.size_hw)[0]
            mask.copy_(full if return_logits else full > self.sam.mask_threshold)
        return Segmentation(masks, scores, low_res)

    def _full_size(self, low_res_logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        input_size = self._input_size(size_hw)
        logits: Tensor = self.sam.postprocess_masks(low_res_logits, input_size, size_hw)
        return logits

    def _no_masks(
        self, encoding: Encoding, multimask_output: bool, return_logits: bool
    ) -> Segmentation:
        candidates = self.num_candidates if multimask_output else 1
        logits = torch.empty(0, candidates, *encoding.size_hw, device=self.device)
        return Segmentation(
            masks=logits if return_logits else logits > 0,
            scores=torch.empty(0, candidates, device=self.device),
            low_res_logits=logits.new_empty(0, candidates, *self._low_res_size()),
        )

    def _to_device(self, coordinates: np.ndarray) -> Tensor:
        return torch.as_tensor(coordinates, dtype=torch.float, device=self.device)

    def _low_res_size(self) -> tuple[int, int]:
        height, width = self.sam.prompt_encoder.mask_input_size
        return height, width

    def _input_size(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        height, width = self.transform.get_preprocess_shape(*size_hw, self.transform.target_length)
        return height, width


class SamHqSegmenter(SamSegmenter):
    """SAM-HQ as ``segment_anything_hq`` has it, bit for bit what its ``SamPredictor`` computes.

    Its decoder sees features from early in the encoder too; of several candidates it keeps the best
    itself, so that there is one mask for each prompt.

    Args:
        sam: the model; used as it is, on the device it is on.
        name: name in records.
    """

    num_candidates = 1

    def __init__(self, sam: Any, name: str = "sam_hq") -> None:
        super().__init__(sam, name)

    def _features(self, squares: Tensor) -> Sequence[Any]:
        embeddings, early = self.sam.image_encoder(squares)
        return list(zip(embeddings.split(1), early[0].split(1), strict=True))

    def _of_image(self, features: Any) -> dict[str, Any]:
        embedding, early = features
        return {
            "image_embeddings": embedding, "interm_embeddings": [early], "hq_token_only": False
        }  # fmt: skip


def load_official(
    name: str,
    builder: Callable[[], Sam],
    checkpoint: str | Path | None,
    device: str,
    wrap: Callable[[Any], Segmenter] = as_segmenter,
) -> SamSegmenter:
    """A model with weights in the official ``.pth`` format.

    Args:
        name: name in records, and of an official checkpoint.
        builder: makes the model with random weights.
        checkpoint: path; None looks in the weights folder, and downloads where there is a network.
        device: where it runs.
        wrap: makes a segmenter of the model.

    Raises:
        InputError: if the file is missing, damaged, or of another architecture.
    """
    path = weights.official_sam(name) if checkpoint is None else Path(checkpoint)
    if not path.is_file():
        raise MissingFileError(
            f"checkpoint {path} does not exist; expected an official {name} file, see "
            "weights/README.md"
        )
    state = weights.load_official(path, key="state_dict")
    with weights.unfilled():
        sam = builder()
    weights.load_into(sam, state, path)
    segmenter = wrap(sam.eval().requires_grad_(False).to(device))
    assert isinstance(segmenter, SamSegmenter)
    segmenter.name = name
    return segmenter
