"""Low-rank adapters inside an encoder's blocks (peft), known to strategies as one more group.

LoRA: Hu et al. 2021, arXiv 2106.09685. Every linear layer of the chosen blocks is adapted, which
serves better than attention alone (Dettmers et al. 2023, arXiv 2305.14314).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from coursekit.errors import TrainingError
from coursekit.models.classifier import seeded

if TYPE_CHECKING:
    from coursekit.models.classifier import Classifier

GROUP = "adapters"


def require_peft() -> Any:
    """The ``peft`` library.

    Raises:
        TrainingError: if it is not installed, with the command that installs it.
    """
    try:
        import peft
    except ImportError:
        raise TrainingError(
            "LoRAFinetune needs the library peft, which is not installed; run "
            "`pip install 'coursekit[adapters]'` (in a notebook: `%pip install peft`)"
        ) from None
    return peft


def targets(model: Classifier, blocks: int | None = None) -> list[str]:
    """Names, inside the encoder, of the linear layers of its last blocks.

    Args:
        model: of any family; its blocks were found by structure.
        blocks: so many from the top; None takes all.

    Raises:
        TrainingError: if the encoder has fewer blocks, or its blocks have no linear layer.
    """
    found = model.blocks
    if blocks is not None and blocks > len(found):
        raise TrainingError(
            f"LoRAFinetune: blocks is {blocks}; {model.name} has {len(found)} blocks"
        )
    chosen = found if blocks is None else found[len(found) - blocks :]
    inside = {id(module) for block in chosen for module in block.modules()}
    names = [
        name
        for name, module in model.encoder.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear)
    ]
    if not names:
        raise TrainingError(f"LoRAFinetune: the blocks of {model.name} have no linear layer")
    return names


def add_adapters(
    model: Classifier, rank: int, alpha: float, dropout: float, blocks: int | None, seed: int = 0
) -> None:
    """Put adapters into the model, as a group of parameters of its own below the head.

    Untrained, they change nothing: one of each pair of matrices is zero. A model that has the
    same adapters already keeps them.

    Args:
        model: changed in place; its other groups keep their names.
        rank: columns of the first matrix of each pair, rows of the second.
        alpha: the pair's product is scaled by ``alpha / rank``.
        dropout: share of a layer's input that does not reach its adapter in training.
        blocks: adapt so many blocks from the top; None adapts all.
        seed: of the matrices that are not zero.

    Raises:
        TrainingError: without peft, or where the model has other adapters.
    """
    peft = require_peft()
    wanted = (rank, float(alpha), float(dropout), blocks)
    if model.adapted is not None:
        if model.adapted != wanted:
            raise TrainingError(
                f"{model.name} has adapters of rank {model.adapted[0]} and alpha "
                f"{model.adapted[1]:g} already; load a fresh classifier for others"
            )
        return
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets(model, blocks)
    )
    device = model.device
    with seeded(seed):
        peft.inject_adapter_in_model(config, model.encoder)
    model.to(device)
    present = dict(model.named_parameters())
    groups = {
        group: tuple(name if name in present else _moved(name) for name in names)
        for group, names in model.groups.items()
    }
    head = groups.pop("head")
    groups[GROUP] = tuple(name for name in present if ".lora_" in name)
    model.groups = {**groups, "head": head}
    model.adapted = wanted


def merge_adapters(model: Classifier) -> None:
    """Add the adapters into the weights they adapt: the same predictions, no extra cost.

    Raises:
        TrainingError: if the model has no adapters.
    """
    for layer in _layers(model):
        if not layer.merged:
            layer.merge(safe_merge=True)


def unmerge_adapters(model: Classifier) -> None:
    """Take the adapters out of the weights again, up to rounding.

    Raises:
        TrainingError: if the model has no adapters.
    """
    for layer in _layers(model):
        if layer.merged:
            layer.unmerge()


def _layers(model: Classifier) -> list[Any]:
    if model.adapted is None:
        raise TrainingError(f"{model.name} has no adapters; LoRAFinetune puts them in")
    tuner = require_peft().tuners.tuners_utils.BaseTunerLayer
    return [module for module in model.encoder.modules() if isinstance(module, tuner)]


def _moved(name: str) -> str:
    """The name that an adapted layer's own parameter has, one level down."""
    layer, parameter = name.rsplit(".", 1)
    return f"{layer}.base_layer.{parameter}"
