"""Networks of torchvision, timm and transformers as embedders: `torchvision:NAME`, `timm:NAME`, `hf:NAME`.

Weights come from the library's own cache, or its hub where there is a network, or a file of yours: `torchvision:NAME@FILE`,
`timm:NAME@FILE`, `hf:FOLDER`. Resizing, cropping and normalising are the model's own; vectors are what its classifier
would get. The name has a SHA-256 of the weights and of the preprocessing, since vectors of two networks cannot be compared.
Cost: loading and one pass over the weights; torchvision is there, timm and transformers are extras.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from jftdata.backbone import NetEmbedder
from jftdata.errors import BadArgument, BadInput, JftDataError, MissingInput, one_of


@dataclass(frozen=True)
class _Model:
    """A network and its preprocessing."""

    net: nn.Module
    """Normalised (n, 3, size, size) to (n, d)."""
    crop: Callable[[Image.Image], NDArray[np.uint8]]
    """An image, resized and cropped: (size, size, 3)."""
    mean: Sequence[float]
    std: Sequence[float]
    described: str
    """The preprocessing in words that differ where it does."""
    scale: float = 1 / 255
    """Of the pixels, before mean and std."""


def load(source: str, model: str, *, device: str = "auto") -> NetEmbedder:
    """A network as an embedder, without its classifier.

    Args:
        source: `torchvision`, `timm` or `hf` (transformers).
        model: its name there, with `@FILE` (.safetensors, or .pth without pickled objects) for weights of your own; of
            torchvision also `@` and the name of one of its weights, such as `resnet50@IMAGENET1K_V1`; of `hf` the name
            on the hub or a folder that `save_pretrained` wrote, in safetensors.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UnknownOption: no such model; the nearest is suggested.
        BadArgument: the library is not installed.
        MissingInput: no such file, or weights that are not in the cache and cannot be downloaded.
        BadInput: weights that do not fit, or a model without vectors of images.
    """
    name, where = (model, "") if source == "hf" else model.partition("@")[::2]
    if where and not (source == "torchvision" and where.isidentifier()) and not Path(where).is_file():
        raise MissingInput(
            f"{where} does not exist. Give the file of the weights, or leave out @ for the library's own."
        )
    try:
        made = _hf(name) if source == "hf" else _timm(name, where) if source == "timm" else _torchvision(name, where)
    except JftDataError:
        raise
    except OSError as error:
        own = "a folder: hf:FOLDER" if source == "hf" else f"a file: {source}:{name}@FILE"
        raise MissingInput(
            f"the weights of {source}:{model} are neither in the local cache nor can they be downloaded "
            f"({str(error).splitlines()[0]}). Run it once with a network, or give {own}."
        ) from error
    except (RuntimeError, ValueError) as error:
        raise BadInput(f"{source}:{model} could not be loaded: {error}. Check the weights.") from error
    size, width, _ = made.crop(Image.new("RGB", (300, 200))).shape
    if size != width:
        raise BadInput(f"{source}:{model} takes images of {width}x{size} pixels. Take a model of square ones.")
    net = made.net.float().eval()
    short = Path(name).name if source == "hf" and Path(name).is_dir() else name
    return NetEmbedder(
        nn.Sequential(_Normalise(made), net), name=f"{source}:{short}/{_digest(made)[:16]}", size=size, device=device,
        prepare=lambda pixels: made.crop(Image.fromarray(pixels)),
    )  # fmt: skip


def _torchvision(name: str, where: str) -> _Model:
    from torchvision import models
    from torchvision.transforms import functional

    names = models.list_models(module=models)
    if name not in names:
        raise one_of("torchvision model", name, names)
    weights = models.get_model_weights(name)
    given = where if where.isidentifier() and not Path(where).is_file() else "DEFAULT"
    if given not in weights.__members__:
        raise one_of(f"weights of torchvision:{name}", given, weights.__members__)
    preset = weights[given].transforms()
    net = models.get_model(name, weights=None)
    if hasattr(net, "transform_input"):  # GoogLeNet and Inception undo the normalisation only with their own weights
        net.transform_input = True
    linear = [at for at, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise BadInput(f"torchvision:{name} has no linear classifier to take off. Take another model.")
    net.set_submodule(linear[-1], nn.Identity())
    state = (
        _read(Path(where)) if Path(where).is_file() else weights[given].get_state_dict(check_hash=True, progress=False)
    )
    net.load_state_dict({key: value for key, value in state.items() if not key.startswith(f"{linear[-1]}.")})

    def crop(image: Image.Image) -> NDArray[np.uint8]:
        resized = functional.resize(image, preset.resize_size, preset.interpolation, antialias=preset.antialias)
        return np.asarray(functional.center_crop(resized, preset.crop_size))

    return _Model(net, crop, preset.mean, preset.std, repr(preset))


def _timm(name: str, where: str) -> _Model:
    timm = _extra("timm", "timm")
    names = timm.list_models()
    if not name.startswith("hf-hub:") and name.split(".")[0] not in names:
        raise one_of("timm model", name, names)
    overlay = {"file": where} if where else None
    net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)
    config = timm.data.resolve_model_data_config(net)
    geometry = timm.data.create_transform(**config, is_training=False).transforms[:-2]  # then tensor and normalise

    def crop(image: Image.Image) -> NDArray[np.uint8]:
        for step in geometry:
            image = step(image)
        return np.asarray(image)

    return _Model(net, crop, config["mean"], config["std"], f"{geometry} {config['mean']} {config['std']}")


def _hf(model: str) -> _Model:
    transformers = _extra("transformers", "hf")
    processor = transformers.AutoImageProcessor.from_pretrained(model)
    net, loading = transformers.AutoModel.from_pretrained(model, use_safetensors=True, output_loading_info=True)
    missing = sorted(loading["missing_keys"])
    if missing and all(key.startswith("pooler.") for key in missing):
        net.pooler = None  # was drawn at random
    elif missing:
        raise BadInput(f"hf:{model} has no weights for {missing[0]} and {len(missing) - 1} more. Take a whole model.")

    def crop(image: Image.Image) -> NDArray[np.uint8]:
        pixels = processor(images=image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
        return np.ascontiguousarray(pixels[0].transpose(1, 2, 0).astype(np.uint8))

    normal = processor.do_normalize
    return _Model(
        _Pooled(net), crop, processor.image_mean if normal else (0, 0, 0), processor.image_std if normal else (1, 1, 1),
        json.dumps(processor.to_dict(), sort_keys=True, default=str), processor.rescale_factor if processor.do_rescale else 1.0,
    )  # fmt: skip


class _Pooled(nn.Module):
    """One vector of what a transformers model says of an image: pooled, or its first token, or the mean of a map."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        call = getattr(self.model, "get_image_features", self.model)
        out = call(pixel_values=x)
        if isinstance(out, Tensor):
            return out
        pooled: Tensor | None = getattr(out, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        last: Tensor = out.last_hidden_state
        return last[:, 0] if last.ndim == 3 else last.mean(dim=(2, 3))


class _Normalise(nn.Module):
    """[-1, 1] to what a model wants: (pixel * scale - mean) / std."""

    factor: Tensor
    shift: Tensor

    def __init__(self, model: _Model) -> None:
        super().__init__()
        mean, std = (torch.tensor(x, dtype=torch.float64).reshape(1, 3, 1, 1) for x in (model.mean, model.std))
        self.register_buffer("factor", (127.5 * model.scale / std).float())
        self.register_buffer("shift", ((127.5 * model.scale - mean) / std).float())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.shift


def _read(file: Path) -> dict[str, Tensor]:
    """Tensors by name, from safetensors or from a .pth that holds nothing else."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, zip and pickle raise their own
        raise BadInput(
            f"{file} holds no weights that can be read: {error}. Save a state_dict as .safetensors."
        ) from error
    weights: dict[str, Tensor] = found.get("state_dict", found.get("model", found))
    return weights


def _digest(model: _Model) -> str:
    """SHA-256 of every weight with its name, type and shape, and of the preprocessing."""
    digest = hashlib.sha256(model.described.encode())
    for name, value in sorted(model.net.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _extra(library: str, extra: str) -> Any:
    try:
        return import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise BadArgument(
            f"`{extra}:` embedders need {library}, which is not installed. Install it: pip install 'jftdata[{extra}]'."
        ) from None
