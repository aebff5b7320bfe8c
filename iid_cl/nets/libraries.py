"""Networks of timm and torchvision: ``timm:NAME`` and ``torchvision:NAME``, with or without trained weights."""

import difflib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from iid_cl.config.distill import NetworkConfig
from iid_cl.errors import UserError, need
from iid_cl.nets.base import Network
from iid_cl.nets.weights import load_features, read_weights

USUAL_SIDE = 224  # pixels of the images that most of these networks were trained on
PATIENCE = 10  # seconds to wait for the hub
_DRAWING = Lock()  # of the global random state, which networks that train side by side would disturb


class Backbone(Network):
    """A library's network without its head, with a new linear one.

    Its feature map is what the head sees, as one position: (N, D, 1, 1).

    >>> body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> network = Backbone(body, 8, classes=5)
    >>> network.embed(torch.zeros(2, 1, 16, 16)).shape, network(torch.zeros(2, 1, 16, 16)).shape
    (torch.Size([2, 8, 1, 1]), torch.Size([2, 5]))

    Args:
        body: takes colour images, normalised by the data set's mean and standard deviation, and gives (N, D).
        width: D.
        classes: number of outputs.
        resize: side in pixels that images are enlarged to; None: they stay as they are.
    """

    def __init__(self, body: nn.Module, width: int, classes: int, resize: int | None = None) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Linear(width, classes)
        self._resize = resize

    def embed(self, images: Tensor) -> Tensor:
        """Images (N, 1 or 3, H, W) to (N, D, 1, 1)."""
        images = images.expand(-1, 3, -1, -1)  # grey ones have three equal channels
        if self._resize is not None:
            images = functional.interpolate(
                images, size=(self._resize, self._resize), mode="bilinear", align_corners=False, antialias=True
            )
        features: Tensor = self.body(images)
        return features[:, :, None, None]


@dataclass(frozen=True)
class _Model:
    """A library's network without its head, the names of its head's modules, and how its own weights are fetched."""

    body: nn.Module
    heads: tuple[str, ...]
    fetch: Callable[[], dict[str, Tensor]]


def build_backbone(
    config: NetworkConfig, shape: tuple[int, int, int], classes: int, generator: torch.Generator
) -> Backbone:
    """The configured network, on the CPU; ``generator`` draws all weights that are not trained ones.

    Raises:
        UserError: the library or the network is missing, images of another kind, or weights that cannot be had.
    """
    library, _, name = config.name.partition(":")
    if shape[0] not in (1, 3):
        raise UserError(f"name: {config.name!r} takes images of 1 or 3 channels, not of {shape[0]}; use 'convnet'.")
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # these libraries draw from the global state
        model = {"timm": _of_timm, "torchvision": _of_torchvision}[library](name)
        if config.weights != "none":
            tensors = model.fetch() if config.weights == "hub" else read_weights(config.weights)[0]
            load_features(model.body, tensors, model.heads, config.weights)
        return Backbone(model.body, _width(model.body, config, shape), classes, config.resize)


@torch.no_grad()
def _width(body: nn.Module, config: NetworkConfig, shape: tuple[int, int, int]) -> int:
    """Number of features of an image, by running one.

    Raises:
        UserError: the network cannot take it.
    """
    height, width = shape[1:] if config.resize is None else (config.resize, config.resize)
    try:
        features = body.eval()(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"name: {config.name!r} cannot take images of {width}x{height} pixels ({_reason(error)}); "
            f"set resize: {USUAL_SIDE}, for example."
        ) from None
    finally:
        body.train()
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise UserError(f"name: {config.name!r} gives no feature vector without its head; choose another network.")
    return int(features.shape[1])


def _of_timm(name: str) -> _Model:
    need("timm", f"name: 'timm:{name}'", "timm")
    import timm

    plain = name.partition(".")[0]  # the rest names weights
    if not timm.is_model(plain):
        raise _unknown("timm", plain, timm.list_models())
    try:
        body = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:  # a name of weights that this network does not have
        raise UserError(f"name: timm has no network {name!r} ({error}).") from None
    about = body.pretrained_cfg
    head = about.get("classifier")
    heads = tuple(head) if isinstance(head, tuple | list) else (head,) if head else ()

    def fetch() -> dict[str, Tensor]:
        if not about.get("hf_hub_id"):
            raise UserError(f"weights: the hub has none of 'timm:{name}'; name a file.")
        return _from_hub(about["hf_hub_id"])

    return _Model(body, heads, fetch)


def _from_hub(repository: str) -> dict[str, Tensor]:
    """The weights of a repository of the Hugging Face hub, from its cache or by a download.

    Raises:
        UserError: they are not there, or there is no network.
    """
    from huggingface_hub import constants, hf_hub_download

    with suppress(OSError):  # not in the cache
        return read_weights(hf_hub_download(repository, "model.safetensors", local_files_only=True))[0]
    way_out = "name a file as weights, or fetch them once where there is a network"
    try:
        if not constants.HF_HUB_OFFLINE:  # the hub's client tries for a minute where this ends at once
            urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        raise UserError(f"weights: {constants.ENDPOINT} cannot be reached ({_reason(error)}); {way_out}.") from None
    try:
        return read_weights(hf_hub_download(repository, "model.safetensors"))[0]
    except UserError:
        raise
    except Exception as error:  # whatever the hub's client and its transport raise
        raise UserError(f"weights: {repository!r} cannot be fetched ({_reason(error)}); {way_out}.") from None


def _of_torchvision(name: str) -> _Model:
    from torchvision import models

    known = models.list_models(models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    with_more_heads = name in ("googlenet", "inception_v3")
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if with_more_heads else {}
    body: nn.Module = models.get_model(name, weights=None, **options)
    linear = [key for key, module in body.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"name: torchvision's {name!r} has no linear head to replace; choose another network.")
    body.set_submodule(linear[-1], nn.Identity())

    def fetch() -> dict[str, Tensor]:
        weights: Any = models.get_model_weights(name).DEFAULT
        folder = os.path.join(torch.hub.get_dir(), "checkpoints")
        try:
            return dict(torch.hub.load_state_dict_from_url(
                weights.url, folder, map_location="cpu", progress=False, check_hash=True, weights_only=True
            ))  # fmt: skip
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"weights: {weights.url} cannot be fetched ({_reason(error)}); name a file as weights, or fetch them "
                "once where there is a network."
            ) from None

    return _Model(body, (linear[-1], "AuxLogits", "aux1", "aux2"), fetch)


def _unknown(library: str, name: str, known: Sequence[str]) -> UserError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return UserError(f"name: {library} has no network {name!r}; perhaps '{library}:{near[0]}' is meant.")


def _reason(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:100] if str(error).strip() else type(error).__name__
