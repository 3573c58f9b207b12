"""Run as a program: one run under several trackers, stopped half-way and gone on with.

python tracked.py FOLDER TRACKER ...
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from families import small_classifier  # noqa: E402
from stopping import stopping_after  # noqa: E402
from tiny import STRATEGIES, tiny_task  # noqa: E402

from coursekit.runs import Run  # noqa: E402
from coursekit.training import session, tracking  # noqa: E402


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    session.SAVE_SECONDS = -1.0
    tracking.WAIT_SECONDS = 120.0  # making a data base takes long where the machine is busy
    rows: list[dict] = []

    def fit() -> Run:
        return STRATEGIES["full"].fit(
            small_classifier("bert"), tiny_task(), epochs=3, seed=3,
            checkpoint_dir=folder / "states", tracker=[rows.append, *names],
        )  # fmt: skip

    with stopping_after(6):
        fit()
    run = fit()
    print(run.notes)
    run.save(folder / "run")
    # Given back and not trained: nothing more is tracked.
    before = len(rows)
    fit()
    assert len(rows) == before == 12 + 3


if __name__ == "__main__":
    main()
