"""What several processes do together, for test_processes.

    torchrun --nproc-per-node 2 together.py FOLDER

The first process leaves runs and facts in FOLDER; a fact that does not hold ends the program.
"""

from __future__ import annotations

import io
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from families import small_classifier  # noqa: E402
from stopping import stopping_after  # noqa: E402
from tiny import EPOCHS, PENALTIES, STRATEGIES, tiny_task  # noqa: E402
from torch import nn  # noqa: E402

from coursekit.errors import TrainingError  # noqa: E402
from coursekit.models.classifier import Classifier  # noqa: E402
from coursekit.runs import Run  # noqa: E402
from coursekit.storage import write_json  # noqa: E402
from coursekit.training import FinetuneStrategy, ScheduledFinetune  # noqa: E402
from coursekit.training.processes import Processes, processes  # noqa: E402
from coursekit.training.session import Session  # noqa: E402

SEED = 2
FULL = STRATEGIES["full"]


def without_dropout(strategy: FinetuneStrategy) -> FinetuneStrategy:
    """Dropout differs from process to process, so what is compared has none."""
    strategy = replace(strategy, lr=3 * strategy.lr)
    return replace(strategy, dropout=0.0) if hasattr(strategy, "dropout") else strategy


def still_model() -> Classifier:
    model = small_classifier("bert", pooling="mean")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


# Besides the strategies as they are: batches that do not go round, and one that leaves a process
# without a molecule; a window whose batches are handed out whole; an end by patience; transitions
# by patience, with a return to the best epoch's weights and moments; and these with penalties and a
# moving average.
TRANSITIONS = ScheduledFinetune(
    {0: {"params": ["head"]}, 1: {"params": ["block.2"]}, 2: {"params": ["block.1"]}},
    batch_size=8,
    lr=1e-2,
    base_max_lr=3e-3,
    patience=2,
    min_delta=1.0,  # nothing is so much better: each phase waits twice and ends
)
SETTINGS = {
    **STRATEGIES,
    "uneven batches": replace(FULL, batch_size=29),
    "accumulation": replace(FULL, accumulate=3),
    "patience": replace(STRATEGIES["head"], patience=1, lr=0.1),
    "transitions": TRANSITIONS,
    "all at once": replace(TRANSITIONS, patience=1, ema=0.8, penalties=PENALTIES),
}
LONG_ENOUGH = 8  # epochs, until predictions differ from molecule to molecule


def fit(name: str, **more: object) -> Run:
    strategy = without_dropout(SETTINGS[name])
    epochs = 30 if name == "patience" else LONG_ENOUGH
    return strategy.fit(still_model(), tiny_task(), epochs=epochs, seed=SEED, **more)


def count_said(words: str, said: io.StringIO, together: Processes) -> list[int]:
    """How often each process has printed these words."""
    return together.gather(said.getvalue().count(words))


@contextmanager
def short_of_memory(most: int, here: bool) -> Iterator[dict[int, list[int]]]:
    """Inside, this process holds so many molecules at once, if it is ``here``.

    Yields:
        How many were tried, by the number of the step.
    """
    really, tried = Session.logits, defaultdict(list)

    def logits(self: Session, rows):
        tried[self.at.step].append(len(rows))
        if here and len(rows) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return really(self, rows)

    Session.logits = logits
    try:
        yield tried
    finally:
        Session.logits = really


def ctrl_c_in_step(model: Classifier, step: int) -> Classifier:
    """The model, which has this process get a ctrl-C in the middle of this step."""
    passes = []

    def press(head: nn.Module, _: object) -> None:
        if head.training:
            passes.append(1)
            if len(passes) == step:
                signal.raise_signal(signal.SIGINT)

    model.head.register_forward_pre_hook(press)
    return model


def main(folder: Path) -> None:
    together = processes()
    facts: dict[str, object] = {"size": together.size}

    for name in SETTINGS:
        run = fit(name)
        same = together.gather((run.predictions, run.history.drop(columns="loss")))
        for predictions, history in same:
            pd.testing.assert_frame_equal(predictions, same[0][0], check_exact=True)
            pd.testing.assert_frame_equal(history, same[0][1], check_exact=True)
        if together.first:
            run.save(folder / name)

    # With dropout: what two processes had begun, two go on with to the same bits, after a ctrl-C in
    # one of them and after an end by force. The first one alone calls a tracker, and alone looks at
    # the folder: on another host there may be none.
    def train(model: Classifier | None = None, **more: object) -> Run:
        model = small_classifier("bert") if model is None else model
        return STRATEGIES["progressive"].fit(model, tiny_task(), epochs=EPOCHS, seed=SEED, **more)

    rows: list[dict[str, object]] = []
    whole = train(tracker=rows.append)
    states, ended = (folder / f"{name}, process {together.rank}" for name in ("begun", "ended"))
    facts["rows for the tracker"] = together.gather(len(rows))
    model = small_classifier("bert")
    if not together.first:
        model = ctrl_c_in_step(model, 3)
    stopped = train(model, checkpoint_dir=states)
    facts["stopped by ctrl-C"] = together.gather([stopped.interrupted, stopped.cost["steps"]])
    with stopping_after(6):
        train(checkpoint_dir=states)
    torch.manual_seed(99)
    again = train(resume_from=states, checkpoint_dir=ended)
    pd.testing.assert_frame_equal(again.history, whole.history, check_exact=True)
    pd.testing.assert_frame_equal(again.predictions, whole.predictions, check_exact=True)
    with redirect_stdout(io.StringIO()) as said:
        train(checkpoint_dir=ended)
    facts["finished, it says"] = count_said("is finished; its result is given back", said, together)
    facts["has states"] = together.gather([states.exists(), ended.exists()])

    # What the memory of one process does not hold, none of them tries again.
    with (
        short_of_memory(3, here=not together.first) as tried,
        redirect_stdout(io.StringIO()) as said,
    ):
        run = fit("full")
    largest = [max(sizes) for _, sizes in sorted(tried.items())]
    facts["molecules at once"] = together.gather([largest[0], *set(largest[1:])])
    facts["out of memory, it says"] = count_said("Tried to allocate", said, together)
    facts["notes differ"] = len({run.notes for run in together.gather(run)}) > 1
    if together.first:
        run.save(folder / "short of memory")

    # What is frozen runs once over what a process may need of it: each step's random molecules may
    # fall to any of them, and validation and prediction are shared out.
    model, ran = still_model(), []
    model.blocks[0].register_forward_hook(lambda _, given, __: ran.append(len(given[0])))
    STRATEGIES["partial"].fit(model, tiny_task(), epochs=4)
    facts["molecules through a frozen block"] = together.gather(sum(ran))

    # Dropout is another one in each process, and so are the weights of the head: the first's count.
    torch.manual_seed(together.seed(SEED))
    draws = together.gather(torch.rand(3))
    facts["draws differ"] = not torch.equal(draws[0], draws[-1])
    model = small_classifier("bert")
    with torch.no_grad():
        model.head[1].weight += together.rank
    FULL.fit(model, tiny_task(), epochs=1)
    digests = together.gather(model.digest())
    facts["same weights"] = len(set(digests)) == 1

    # A full disk is one process's trouble and all processes' business.
    (folder / "a file").touch()
    run = FULL.fit(
        small_classifier("bert"), tiny_task(), epochs=1, checkpoint_dir=folder / "a file"
    )
    facts["no folder"] = run.notes[0]

    # Who means something else is told, and so are the others.
    try:
        FULL.fit(small_classifier("bert"), tiny_task(), epochs=1, seed=together.rank)
    except TrainingError as error:
        facts["told"] = str(error)
    facts["told in all"] = len(set(together.gather(facts["told"]))) == 1
    if together.first:
        write_json(folder / "facts.json", facts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
