"""Run as a program: one run under several trackers, stopped half-way and gone on with.

python tracked.py FOLDER TRACKER ...
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from families import small_classifier  # noqa: E402
from tiny import STRATEGIES, tiny_task  # noqa: E402

from coursekit.training import session, tracking  # noqa: E402
from coursekit.training.session import Session  # noqa: E402


class Stopped(Exception):
    """Stands for a machine that is lost; what was on its way to the trackers still arrives."""


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    session.SAVE_SECONDS = -1.0
    tracking.WAIT_SECONDS = 120.0  # making a data base takes long where the machine is busy
    save = Session.save_if_due

    def stop(self: Session) -> None:
        save(self)
        if self.at.step == 6:
            raise Stopped

    rows: list[dict] = []
    for half in (stop, save):
        Session.save_if_due = half
        try:
            run = STRATEGIES["full"].fit(
                small_classifier("bert"), tiny_task(), epochs=3, seed=3,
                checkpoint_dir=folder / "states", tracker=[rows.append, *names],
            )  # fmt: skip
        except Stopped:
            print("stopped")
    print(run.notes)
    run.save(folder / "run")
    # Given back and not trained: nothing more is tracked.
    before = len(rows)
    STRATEGIES["full"].fit(
        small_classifier("bert"), tiny_task(), epochs=3, seed=3,
        checkpoint_dir=folder / "states", tracker=[rows.append, *names],
    )  # fmt: skip
    assert len(rows) == before == 12 + 3


if __name__ == "__main__":
    main()
