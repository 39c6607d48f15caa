"""Low-rank updates of a SAM's image encoder (LoRA, Hu et al. 2021), by ``peft``."""

from __future__ import annotations

import copy

from segment_anything.modeling import Sam
from torch import nn

from samrot.errors import InputError


def add_lora(sam: Sam, rank: int) -> None:
    """Give each linear map and convolution of the image encoder a trainable low-rank update.

    Args:
        sam: changed in place; the encoder's own weights are frozen.
        rank: rank of the updates.

    Raises:
        InputError: if peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError(
            "segmenter.trained is 'lora', but peft is not installed; pip install 'samrot[lora]'"
        ) from error
    encoder = sam.image_encoder
    # Attention's own output projection is read as a weight, past its forward: it cannot be adapted;
    # nor are depthwise convolutions, of whose filters each is of rank one already.
    names = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and getattr(module, "groups", 1) == 1
        and not name.endswith("out_proj")
    ]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names)
    sam.image_encoder = get_peft_model(encoder, config)


def merge_lora(sam: Sam) -> Sam:
    """The model with its low-rank updates merged into the weights; one without them as it is."""
    if not hasattr(sam.image_encoder, "merge_and_unload"):
        return sam
    merged = copy.deepcopy(sam)
    merged.image_encoder = merged.image_encoder.merge_and_unload()
    return merged
