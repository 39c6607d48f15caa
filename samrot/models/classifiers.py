"""Classifiers: any callable from an image to scores, and networks that are built in.

To add one: a function from the number of classes to a network and how photos come to it, and a line
in ``CLASSIFIERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from samrot import weights
from samrot.errors import InputError, MissingFileError
from samrot.models.callables import import_callable
from samrot.models.cifar_resnet import CifarResNet
from samrot.runtime.batches import in_batches
from samrot.runtime.devices import find_device

TORCHVISION = "torchvision:"
# Channel means and deviations of ImageNet photographs, 0..1: what all networks here take.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_FORMAT = "samrot-classifier"
_HEADER = {"network": (str,), "classes": (list,)}


@dataclass(frozen=True)
class Frame:
    """How a photo comes to a network: scaled, and cut to a centred square.

    Args:
        shorter_side: to which the shorter side is scaled, pixels; bilinear, with antialiasing.
        crop: side of the square, pixels.
    """

    shorter_side: int
    crop: int

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 3, crop, crop); what has that size is left as it is."""
        height, width = images.shape[-2:]
        if (height, width) == (self.crop, self.crop):
            return images
        scale = self.shorter_side / min(height, width)
        size = [max(self.shorter_side, round(side * scale)) for side in (height, width)]
        scaled = TF.resize(images, size, InterpolationMode.BILINEAR, antialias=True)
        return TF.center_crop(scaled, [self.crop, self.crop])


def _cifar_resnet(blocks: int, num_classes: int) -> tuple[nn.Module, Frame]:
    return CifarResNet(blocks, num_classes), Frame(32, 32)


# Name -> builder: number of classes to a network, and how photos come to it.
CLASSIFIERS: dict[str, Callable[[int], tuple[nn.Module, Frame]]] = {
    f"cifar_resnet{6 * blocks + 2}": partial(_cifar_resnet, blocks) for blocks in (3, 5, 7, 9)
}


def _torchvision(name: str, num_classes: int) -> tuple[nn.Module, Frame]:
    """A network of torchvision, with random weights, and the frame of its published ones."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise InputError(
            f"classifier.name is {TORCHVISION + name!r}, which is no classifier of torchvision; "
            "expected one of its names, as torchvision:resnet50"
        )
    preset = models.get_model_weights(name).DEFAULT.transforms()
    network = models.get_model(name, weights=None, num_classes=num_classes)
    return network, Frame(preset.resize_size[0], preset.crop_size[0])


def _builder(name: str) -> Callable[[int], tuple[nn.Module, Frame]]:
    if name in CLASSIFIERS:
        return CLASSIFIERS[name]
    if name.startswith(TORCHVISION):
        return partial(_torchvision, name.removeprefix(TORCHVISION))
    raise InputError(
        f"classifier.name is {name!r}; expected one of: {', '.join(CLASSIFIERS)}, "
        f"{TORCHVISION}NAME or module:callable"
    )


class ClassifierNetwork(nn.Module):
    """A network that takes pixels: photos are brought to its size and normalised within.

    Args:
        name: a key of ``CLASSIFIERS``, or torchvision:NAME.
        classes: names of the classes.

    Raises:
        InputError: if the name is unknown.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, classes: Sequence[str]) -> None:
        super().__init__()
        self.name, self.classes = name, list(classes)
        self.network, self.frame = _builder(name)(len(classes))
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB, 0..255, to scores, (B, K)."""
        return self.network((self.frame(images) - self.mean) / self.std)


class Classifier(Protocol):
    """Scores photos, many at once."""

    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(N, K) float of N photos, each (H, W, 3) uint8 RGB."""
        ...


class NetworkClassifier:
    """A network as a classifier; photos of one size are run together.

    Args:
        network: network, in evaluation mode.
        images_per_batch: photos run at once; halved where memory does not suffice.
    """

    def __init__(self, network: ClassifierNetwork, images_per_batch: int) -> None:
        self.network = network
        self.images_per_batch = images_per_batch

    @torch.no_grad()
    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """See ``Classifier``."""
        scores = np.zeros((len(images), len(self.network.classes)), dtype=np.float32)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(place)
        for places in by_size.values():
            run = partial(self._run, images, places)
            found = list(in_batches(run, len(places), self.images_per_batch))
            scores[places] = np.concatenate(found)
        return scores

    def _run(self, images: Sequence[np.ndarray], places: list[int], some: slice) -> np.ndarray:
        pixels = torch.from_numpy(np.stack([images[place] for place in places[some]]))
        planes = pixels.to(self.network.mean.device).permute(0, 3, 1, 2).float()
        return self.network(planes).float().cpu().numpy()


class CallableClassifier:
    """Any callable from an image to its scores, one photo at a time.

    Args:
        model: (H, W, 3) uint8 RGB to (K,) scores.
        num_classes: K.
    """

    def __init__(self, model: Callable[[np.ndarray], Any], num_classes: int) -> None:
        self.model, self.num_classes = model, num_classes

    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """See ``Classifier``."""
        found = [check_scores(self.model(image)) for image in images]
        for scores in found:
            if len(scores) != self.num_classes:
                raise InputError(
                    f"the model returned {len(scores)} scores; expected {self.num_classes}, one "
                    "for each class of the photos"
                )
        return np.stack(found)


def check_scores(scores: Any) -> np.ndarray:
    """What a classifier returned, (K,).

    Raises:
        InputError: if it is anything but finite scores.
    """
    array = np.asarray(scores)
    if array.ndim != 1 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InputError(
            f"the model returned {array.dtype} of shape {array.shape}; expected (K,) finite scores"
        )
    return array


def load_classifier(
    name: str,
    checkpoint: str | None,
    classes: Sequence[str],
    *,
    device: str = "cpu",
    images_per_batch: int = 64,
) -> Classifier:
    """A classifier, ready for inference.

    Args:
        name: a key of ``CLASSIFIERS``, torchvision:NAME, or module:callable, image -> (K,) scores.
        checkpoint: weights, which a callable has none of.
        classes: names of the classes that it is to know.
        device: where a network runs.
        images_per_batch: photos that a network is given at once.

    Raises:
        InputError: if the name is unknown, or the weights missing, damaged or of other classes.
    """
    if name not in CLASSIFIERS and not name.startswith(TORCHVISION):
        if ":" not in name:
            _builder(name)
        if checkpoint is not None:
            raise InputError(
                f"classifier.checkpoint is {checkpoint} for the callable {name}; leave it out"
            )
        model = import_callable("classifier.name", name, "image -> (K,) scores")
        return CallableClassifier(model, len(classes))
    if checkpoint is None:
        raise InputError(
            f"classifier.checkpoint is not set for {name}; expected its weight file, or a "
            "checkpoint that samrot train-classifier wrote"
        )
    network = load_classifier_network(name, checkpoint, classes)
    network.eval().requires_grad_(False).to(find_device(device))
    return NetworkClassifier(network, images_per_batch)


def load_classifier_network(
    name: str, checkpoint: str | Path, classes: Sequence[str]
) -> ClassifierNetwork:
    """A network with the weights of a file: one that samrot wrote, or published ones.

    Published weights know no names of classes; theirs are taken to be those given, in that order.

    Raises:
        InputError: if the weights are missing, damaged, of another network or number of classes.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise MissingFileError(f"classifier.checkpoint {path} does not exist; expected weights")
    _builder(name)
    if path.suffix == ".safetensors":
        state, header = weights.load(path, format_name=_FORMAT)
        weights.check_header(header, _HEADER, path)
        weights.check_network("classifier.name", name, header, path)
        known = [str(each) for each in header["classes"]]
    else:
        state, width = _published(path)
        if width != len(classes):
            raise InputError(
                f"checkpoint {path} tells {width} classes apart; the photos have {len(classes)}: "
                "choose weights for these, or photos of those"
            )
        known = list(classes)
    return weights.build_filled(partial(ClassifierNetwork, name, known), state, path)


def _published(path: Path) -> tuple[dict[str, Tensor], int]:
    """Weights as a training script saved them, and the number of classes, of the last of them.

    They may be bare, or in a dict, and of one process or several.
    """
    content = weights.load_official(path, key="state_dict")
    width = next((part.shape[0] for part in reversed(content.values()) if part.ndim), 0)
    state = {f"network.{key.removeprefix('module.')}": part for key, part in content.items()}
    for name in [name for name in state if name.endswith(".running_var")]:
        # Which torch did not count at first.
        state.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    return state, width


def save_classifier(network: ClassifierNetwork, path: str | Path) -> None:
    """Write a checkpoint: safetensors, whose header holds all that rebuilding it needs."""
    header = {"network": network.name, "classes": network.classes}
    weights.save(path, network.state_dict(), format_name=_FORMAT, header=header)
