"""A run: everything that training leaves behind, in one object that can be shown and stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from coursekit.errors import RecordError
from coursekit.runs import record as records
from coursekit.storage import atomic_file

if TYPE_CHECKING:
    from coursekit.evaluation.metrics import Scores
    from coursekit.evaluation.picture import Picture

RECORD_FILE = "record.json"
INTERRUPTED = "interrupted"  # how the note of a run begins that was stopped before its end


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What training leaves: curves, predictions, and what is needed to judge or repeat it.

    Args:
        name: what to call it in tables, such as "FullFinetune".
        history: one row per training step (``split`` "train") and per validation ("valid"), with
            the columns of :data:`coursekit.runs.record.HISTORY_COLUMNS` and one
            ``learning_rate.<group>`` per parameter group; validations have a ``moved.<group>`` for
            each group that trains at some time, the way that its weights have gone from where
            training began as a share of their length; NaN where a number was not measured.
        predictions: one row per molecule: ``molecule_id``, ``part`` ("valid" or "test"),
            ``negative_set`` ("" for binders, "easy" or "hard"), ``label`` (1 binder, 0 not) and
            ``score`` (a finite number, larger for binders; scored at float32).
        strategy: what ``strategy.describe()`` gives.
        task: ``name``, ``fingerprint`` (sha256) and ``settings`` of the task.
        seed: the seed of everything random in the run.
        environment: what :func:`coursekit.runs.describe_environment` gives.
        cost: ``seconds`` (wall time), ``trainable_parameters``, ``total_parameters``,
            ``molecules_per_second`` (trained on), ``epochs`` and ``steps``; None where a number
            has no meaning.
        notes: sentences worth reading, such as "stopped early at epoch 3".
        forgetting: how well the encoder guesses masked tokens of held-out pretraining molecules
            before and after: ``loss_before`` and ``loss_after`` (nats per masked token),
            ``accuracy_before`` and ``accuracy_after``, on so many ``molecules`` and
            ``masked_tokens``, with the molecules' ``fingerprint``; None where it was not measured.
    """

    name: str
    history: pd.DataFrame
    predictions: pd.DataFrame
    strategy: Mapping[str, Any]
    task: Mapping[str, Any]
    seed: int
    environment: Mapping[str, Any]
    cost: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    forgetting: Mapping[str, Any] | None = None

    def scores(self, part: str = "test", n_boot: int = 1000, seed: int = 0) -> Scores:
        """AUROC and AU-PRC on easy and on hard negatives, with 95% intervals.

        Args:
            part: "test" or "valid".
            n_boot: bootstrap resamples behind each interval; 0 gives values without intervals.
            seed: seed of the resampling (not of the training).

        Raises:
            ScoreError: the run has no predictions for ``part``, or they cannot be scored.
        """
        from coursekit.evaluation.metrics import score_predictions

        return score_predictions(self.predictions, part=part, n_boot=n_boot, seed=seed)

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped the training before its end, so that it can go on."""
        return any(note.startswith(INTERRUPTED) for note in self.notes)

    def record(self) -> dict[str, Any]:
        """The run as plain data that fits into a notebook.

        Raises:
            RecordError: something in the run cannot be recorded, or the record is too large.
        """
        return records.make_record(self)

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Run:
        """Read a record back; every field is checked, because records come from strangers.

        Raises:
            RecordError: naming the field that is not as it should be.
        """
        return cls(**records.read_record(data))

    def save(self, folder: str | Path) -> Path:
        """Write ``record.json`` into a folder, whole or not at all; returns its path."""
        target = Path(folder) / RECORD_FILE
        text = json.dumps(self.record(), allow_nan=False, separators=(",", ":"))
        with atomic_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read the run that :meth:`save` wrote.

        Raises:
            RecordError: there is no record in the folder, or it is not a good one.
        """
        path = Path(folder) / RECORD_FILE
        if not path.is_file():
            raise RecordError(
                f"Run.load: there is no {RECORD_FILE} in '{folder}'. "
                "Give the folder that Run.save wrote to."
            )
        if path.stat().st_size > records.MAX_JSON_BYTES:
            raise RecordError(
                f"Run.load: {path} holds {path.stat().st_size:,} bytes; "
                f"a record has at most {records.MAX_JSON_BYTES:,}. Is this another file?"
            )
        return cls.from_record(records.parse_json(path.read_bytes()))

    def plot(self) -> Picture:
        """Loss curves, or ROC and PR curves where nothing was trained step by step."""
        from coursekit.evaluation import figures

        if self.history.empty:
            return figures.roc_pr_curves({self.name: self})
        return figures.loss_curves(self)

    def _facts(self) -> list[tuple[str, str]]:
        """Label and text of each line under the scores."""
        cost, facts = self.cost, []
        if cost.get("seconds") is not None:
            text = f"{cost['seconds']:,.1f} s"
            if cost.get("epochs"):
                text += f" for {cost['epochs']:g} epoch{'s' if cost['epochs'] != 1 else ''}"
            if cost.get("molecules_per_second"):
                text += f", {cost['molecules_per_second']:,.0f} molecules/s"
            facts.append(("cost", text))
        if cost.get("trainable_parameters") is not None:
            text = f"{cost['trainable_parameters']:,} trainable"
            if cost.get("total_parameters") is not None:
                text += f" of {cost['total_parameters']:,}"
            facts.append(("parameters", text))
        if self.forgetting is not None:
            told = self.forgetting
            facts.append(
                (
                    "forgetting",
                    f"masked-token loss {told['loss_before']:.3f} before, "
                    f"{told['loss_after']:.3f} after, on {told['molecules']:,} held-out molecules "
                    "of the pretraining",
                )
            )
        task = f"{self.task.get('name')} ({str(self.task.get('fingerprint'))[:12]})"
        facts.append(("task", f"{task}, seed {self.seed}"))
        facts.extend(("note", note) for note in self.notes)
        return facts

    def _test_scores(self) -> Scores | None:
        return self.scores("test") if (self.predictions["part"] == "test").any() else None

    def __str__(self) -> str:
        scores = self._test_scores()
        lines = [f"Run {self.name}", str(scores) if scores else "no predictions on test"]
        lines += [f"{label + ':':<12}{text}" for label, text in self._facts()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Run {self.name}: {len(self.predictions)} predictions, seed {self.seed}>"

    def _repr_html_(self) -> str:
        scores = self._test_scores()
        table = scores._repr_html_() if scores else "<p>no predictions on test</p>"
        facts = "".join(
            f"<li><strong>{escape(label)}</strong>: {escape(text)}</li>"
            for label, text in self._facts()
        )
        return f"<p><strong>Run {escape(self.name)}</strong></p>{table}<ul>{facts}</ul>"
