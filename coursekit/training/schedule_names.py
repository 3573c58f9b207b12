"""Names in files of finetuning-scheduler: those of Hugging Face's own classifiers.

Such a file was made for a sequence classification model of transformers inside a LightningModule:
``model.bert.encoder.layer.3.output.dense.weight``, ``model.classifier.bias``. The same encoder is
in a Classifier under ``encoder``. Its head here is one linear layer, which stands for the last one
there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coursekit.models.classifier import Classifier

# What a LightningModule puts before the names, and what parallel training puts before that.
BEFORE = ("", "model.", "module.", "module.model.")
LAST_LAYER = ("classifier", "classifier.out_proj")
# What lies there between the encoder and the last layer; a Classifier pools by itself.
BETWEEN = ("pooler.dense", "pre_classifier", "classifier.dense", "head.dense", "head.norm")


def names_elsewhere(model: Classifier) -> dict[str, str]:
    """The parameters of the model's groups by the names that Hugging Face's classifiers have."""
    own = [name for names in model.groups.values() for name in names]
    return {there: name for name in own for there in _elsewhere(name, model)}


def names_without_counterpart(model: Classifier) -> list[str]:
    """Names in Hugging Face's classifiers of what does not take part in this model's output."""
    used = {name for names in model.groups.values() for name in names}
    unused = [name for name, _ in model.named_parameters() if name not in used]
    between = [f"{layer}.{kind}" for layer in BETWEEN for kind in ("weight", "bias")]
    pooler = [f"{_base(model)}pooler.dense.{kind}" for kind in ("weight", "bias")]
    there = [there for name in unused for there in _elsewhere(name, model)]
    return list(dict.fromkeys([*there, *_with_what_comes_before([*pooler, *between])]))


def _elsewhere(name: str, model: Classifier) -> list[str]:
    """The names of one parameter, also of one that has an adapter beside it."""
    part, rest = name.split(".", 1)
    if part == "head":
        kind = rest.rsplit(".", 1)[-1]
        return _with_what_comes_before(f"{layer}.{kind}" for layer in LAST_LAYER)
    if part != "encoder":
        return []
    forms = dict.fromkeys((rest, rest.replace(".base_layer.", ".")))
    return _with_what_comes_before(f"{_base(model)}{form}" for form in forms)


def _base(model: Classifier) -> str:
    """What Hugging Face puts before the names of this family's encoder, such as ``bert.``."""
    return f"{model.encoder.base_model_prefix}."


def _with_what_comes_before(names: Iterable[str]) -> list[str]:
    return [before + name for name in names for before in BEFORE]
