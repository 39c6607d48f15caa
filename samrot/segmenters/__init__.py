"""Floor 4: promptable segmenters behind one small protocol."""

from samrot.segmenters.everything_thresholds import EVERYTHING_THRESHOLDS
from samrot.segmenters.fast_decoder import DecoderSettings
from samrot.segmenters.fast_encoder import EncoderSettings
from samrot.segmenters.loading import (
    SEGMENTERS,
    SegmenterSettings,
    SegmenterWeights,
    load_segmenter,
    save_sam,
)
from samrot.segmenters.protocol import (
    BatchEncoder,
    Encoding,
    Movable,
    Segmenter,
    check_memory,
    encode_together,
    move_encoding,
)
from samrot.segmenters.sam import SamSegmenter, as_segmenter, check_plain_sam
from samrot.segmenters.transformers_sam import load_video_model
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

__all__ = [
    "EVERYTHING_THRESHOLDS",
    "SEGMENTERS",
    "BatchEncoder",
    "DecoderSettings",
    "EncoderSettings",
    "Encoding",
    "Movable",
    "Prompts",
    "SamSegmenter",
    "Segmentation",
    "Segmenter",
    "SegmenterSettings",
    "SegmenterWeights",
    "as_segmenter",
    "check_memory",
    "check_plain_sam",
    "encode_together",
    "load_segmenter",
    "load_video_model",
    "move_encoding",
    "save_sam",
]
