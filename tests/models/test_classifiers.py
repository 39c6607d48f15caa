"""Classifiers: He et al.'s networks are those of a plain reference, and weights are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.errors import InputError
from samrot.models.classifiers import (
    MEAN,
    STD,
    ClassifierNetwork,
    NetworkClassifier,
    load_classifier,
    load_classifier_network,
    save_classifier,
)
from tests.conftest import CLASSES, coloured_photo, random_photo

CIFAR = Path(__file__).parents[3] / "shared" / "cifar10"


def reference(state: dict[str, Tensor], blocks: int, images: Tensor) -> Tensor:
    """He et al.'s network from its weights, written out."""

    def norm(x: Tensor, name: str) -> Tensor:
        parts = [state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts)

    x = F.relu(norm(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"))
    for layer in (1, 2, 3):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(F.relu(norm(y, f"{name}.bn1")), state[f"{name}.conv2.weight"], padding=1)
            y = norm(y, f"{name}.bn2")
            if stride == 2:  # option A: subsampled, and zeros around the channels
                zeros = torch.zeros(len(x), x.shape[1] // 2, *y.shape[2:])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)
            x = F.relu(x + y)
    pooled = F.avg_pool2d(x, x.shape[-1])[..., 0, 0]
    return F.linear(pooled, state["linear.weight"], state["linear.bias"])


def random_network(seed: int = 0) -> ClassifierNetwork:
    torch.manual_seed(seed)
    network = ClassifierNetwork("cifar_resnet20", CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def published(network: ClassifierNetwork, path: Path) -> Path:
    """As the published weights are: of several processes, beside other things, no counters."""
    state = {
        f"module.{name}": part
        for name, part in network.network.state_dict().items()
        if "num_batches" not in name
    }
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    return path


def test_published_weights_are_read_to_the_bit(tmp_path: Path) -> None:
    network = random_network()
    path = published(network, tmp_path / "resnet20.th")
    photos = [coloured_photo(n % 3, n, (32, 32)) for n in range(3)]
    planes = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    normalised = (planes - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = reference(network.network.state_dict(), 3, normalised).detach().numpy()
    loaded = load_classifier("cifar_resnet20", str(path), CLASSES)
    np.testing.assert_allclose(loaded.scores(photos), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "blocks"), [("resnet20-12fca82f.th", 3)])
def test_published_networks_of_cifar(name: str, blocks: int) -> None:
    if not (CIFAR / name).is_file():
        pytest.skip("the published weights are not at hand")
    network = load_classifier_network(f"cifar_resnet{6 * blocks + 2}", CIFAR / name, "0123456789")
    images = torch.randn(2, 3, 32, 32)
    state = network.network.eval().state_dict()
    with torch.no_grad():
        torch.testing.assert_close(
            network.network(images), reference(state, blocks, images), rtol=1e-4, atol=1e-4
        )


def test_checkpoints_go_round(tmp_path: Path) -> None:
    network = random_network()
    path = tmp_path / "network.safetensors"
    save_classifier(network, path)
    loaded = load_classifier_network("cifar_resnet20", path, CLASSES).eval()
    assert loaded.classes == list(CLASSES)
    images = torch.rand(2, 3, 32, 32) * 255
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images), rtol=0.01, atol=0.01)
    with pytest.raises(InputError, match="is a cifar_resnet20; set classifier.name to cifar_resn"):
        load_classifier_network("cifar_resnet32", path, CLASSES)


def test_photos_of_any_size_are_scored_alike_in_any_batch() -> None:
    """Photos of one size go together; a photo of another size is scaled and cut."""
    network = random_network()
    photos = [random_photo(n, *size) for n, size in enumerate([(32, 32), (40, 61), (32, 32)])]
    scores = NetworkClassifier(network, 2).scores(photos)
    assert scores.shape == (3, 3)
    for photo, together in zip(photos, scores, strict=True):
        alone = NetworkClassifier(network, 8).scores([photo])[0]
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name = "torchvision:squeezenet1_1"
    network = ClassifierNetwork(name, CLASSES)
    torch.save(network.network.state_dict(), tmp_path / "weights.pth")
    loaded = load_classifier(name, str(tmp_path / "weights.pth"), CLASSES)
    assert loaded.scores([random_photo(0, 60, 80)]).shape == (1, 3)
    assert (network.frame.shorter_side, network.frame.crop) == (256, 224)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet"}, "classifier.name is 'resnet'; expected one of: cifar_resnet20, cif"),
        ({"name": "torchvision:maskrcnn_resnet50_fpn"}, "which is no classifier of torchvision"),
        ({"name": "cifar_resnet32"}, "is of another architecture: it lacks network.layer1.3"),
        ({"classes": "ab"}, "tells 3 classes apart; the photos have 2: choose weights for these"),
        ({"checkpoint": None}, "classifier.checkpoint is not set for cifar_resnet20; expected"),
        ({"checkpoint": "nowhere.pth"}, "classifier.checkpoint nowhere.pth does not exist"),
        ({"name": "math:sqrt"}, "for the callable math:sqrt; leave it out"),
        ({"name": "no_such:thing", "checkpoint": None}, "classifier.name 'no_such:thing' cannot"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = published(random_network(), tmp_path / "resnet20.th")
    given = {"name": "cifar_resnet20", "checkpoint": str(path), "classes": CLASSES, **changes}
    with pytest.raises(InputError, match=message) as caught:
        load_classifier(**given)
    assert "\n" not in str(caught.value)
