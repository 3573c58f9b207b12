"""The model card of a pretrained encoder, written from what its pretraining left behind.

    python -m coursekit.models.model_card data/coursekit-mini

writes ``README.md`` again from ``pretraining.json`` and, where there is one, ``sources.json``:

    {"out": "my-encoder", "license": "mit",
     "files": {"molecules.smi": {"what": "where they come from", "license": "whose terms hold"}}}
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coursekit.errors import EncoderError

# What `coursekit pretrain` takes; other settings exist in Python only.
OPTIONS = {
    "epochs": "--epochs",
    "blocks": "--blocks",
    "hidden": "--hidden",
    "heads": "--heads",
    "batch_size": "--batch-size",
    "learning_rate": "--lr",
    "seed": "--seed",
}
NOT_STATED = "not stated; write it into `sources.json` and make this card again"


def write_card(folder: str | Path) -> Path:
    """Write ``README.md`` beside the weights.

    Raises:
        EncoderError: if the folder has no readable ``pretraining.json``.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
        notes = folder / "sources.json"
        sources = json.loads(notes.read_text(encoding="utf-8")) if notes.exists() else {}
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"model_card: {folder} is not the folder of an encoder that `coursekit pretrain` "
            f"wrote ({error})"
        ) from error
    card = folder / "README.md"
    card.write_text(model_card({"name": folder.resolve().name, **facts}, sources), encoding="utf-8")
    return card


def model_card(facts: Mapping[str, Any], sources: Mapping[str, Any] | None = None) -> str:
    """The card as Markdown with the metadata that the Hugging Face Hub reads.

    Args:
        facts: what ``pretraining.json`` says, and ``name``.
        sources: what cannot be known from the files: ``out`` (the folder in the command),
            ``name`` (what ``load_classifier`` calls it, where that is not ``out``), ``license``
            (an identifier of the Hub) and, per file, ``what`` and ``license``.
    """
    sources = sources or {}
    out = sources.get("out", facts["name"])
    parts = [
        _front_matter(sources.get("license")),
        _opening(facts),
        _loading(out, sources.get("name", out)),
        _making(facts, out),
        _data(facts, sources.get("files", {})),
        _measured(facts),
        USE,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


USE = """
## Use and limits
Made for teaching: to compare frozen embeddings with fine-tuning on molecules of the kind it has
seen. It reads SMILES atom by atom; an atom that was too rare for a token of its own is spelled in
characters, so no SMILES is unreadable, but a rare element is poorly known.

- It knows which tokens go together in SMILES, and nothing about proteins, binding, toxicity or
  synthesis. No prediction made with it is evidence that a molecule binds anything.
- Different spellings of one molecule give different embeddings: use canonical SMILES, as in the
  data above.
- The pooled vectors were not trained for similarity search. Fine-tune, and compare with a
  fingerprint baseline.
- Chemistry far from the data above (peptides, metal complexes, polymers) was not seen.
"""


def _front_matter(license: str | None) -> str:
    lines = ["---"]
    if license:
        lines.append(f"license: {license}")
    lines += [
        "library_name: transformers",
        "pipeline_tag: fill-mask",
        "tags:",
        "- chemistry",
        "- smiles",
        "- modernbert",
        "- coursekit",
        "---",
    ]
    return "\n".join(lines)


def _opening(facts: Mapping[str, Any]) -> str:
    settings = facts["settings"]
    return f"""
# {facts["name"]}

A small encoder for SMILES: a ModernBERT of {settings["blocks"]} blocks, {settings["hidden"]} wide,
{settings["heads"]} attention heads, {facts["parameters"]:,} parameters with its masked-token head.
Pretrained from random weights to guess masked tokens, {settings["mask_share"]:.0%} of all. Weights
are stored as safetensors.
"""


def _loading(out: str, name: str) -> str:
    return f"""
## Load it
```python
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{out}")
encoder = AutoModel.from_pretrained("{out}")
```
or, with a classification head on it, `coursekit.load_classifier("{name}")`.
"""


def _making(facts: Mapping[str, Any], out: str) -> str:
    settings = "\n".join(f"| {name} | {value} |" for name, value in facts["settings"].items())
    where = facts["device"]
    if where == "CPU":
        where += f" (threads: {facts['threads']})"
    return f"""
## Made by
```
{command(facts, out)}
```
The same command on the same files gives the same weights, on a CPU of the same kind bit for bit.

{facts["steps"]:,} steps in {facts["minutes"]} minutes on {where}, with torch {facts["torch"]}.

| setting | value |
|---|---|
{settings}
"""


def command(facts: Mapping[str, Any], out: str) -> str:
    """The command, or the lines of Python, that made an encoder."""
    from coursekit.models.pretrain import PretrainSettings

    usual = vars(PretrainSettings())
    changed = {k: v for k, v in facts["settings"].items() if v != usual[k]}
    if set(changed) - set(OPTIONS):
        arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        return (
            "from coursekit.models.pretrain import PretrainSettings, pretrain\n\n"
            f"pretrain({list(facts['files'])!r}, {out!r}, PretrainSettings({arguments}))"
        )
    changed = {"epochs": facts["settings"]["epochs"], **changed}
    options = " ".join(f"{OPTIONS[name]} {value}" for name, value in changed.items())
    files = " ".join(shlex.quote(name) for name in facts["files"])
    return f"coursekit pretrain {files} --out {shlex.quote(out)} {options}"


def _data(facts: Mapping[str, Any], sources: Mapping[str, Mapping[str, str]]) -> str:
    paragraphs = ["## Data"]
    for name, digest in facts["files"].items():
        known = sources.get(name, {})
        heldout = ", others held out" if name in facts["heldout"] else ""
        paragraphs.append(
            f"**`{name}`**: {facts['molecules'][name]:,} molecules for training{heldout}.\n"
            f"- What: {known.get('what', NOT_STATED)}.\n"
            f"- Terms: {known.get('license', NOT_STATED)}.\n"
            f"- SHA-256: `{digest}`"
        )
    paragraphs.append("A molecule held out of one file is trained on from none.")
    return "\n\n".join(paragraphs)


def _measured(facts: Mapping[str, Any]) -> str:
    if not facts["heldout"]:
        return "## Measured\nNot measured: the files are too small to hold molecules out."
    rows = "\n".join(
        f"| `{name}` | {score['loss']:.3f} | {score['accuracy']:.1%} | {score['masked_tokens']:,} |"
        for name, score in facts["heldout"].items()
    )
    return f"""
## Measured
Masked tokens of molecules that were held out, up to {facts["settings"]["holdout"]:,} per file;
loss in nats per masked token, accuracy of the likeliest token.

| held-out part of | loss | accuracy | masked tokens |
|---|---|---|---|
{rows}
"""


def main(arguments: list[str]) -> int:
    """Write the cards of the folders named; without any, say how."""
    if not arguments:
        print("usage: python -m coursekit.models.model_card FOLDER ...", file=sys.stderr)
        return 2
    for folder in arguments:
        print(write_card(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
