"""Run as a program: train each strategy in a process of its own and kill it there, for test_resume.

    python killed.py FOLDER THREADS DELAY ...

Saves a state at every step into FOLDER/<strategy>-<delay>, and sends SIGKILL when so many
hundredths of a second have passed since the first of them: somewhere in a step, in a validation or
in the middle of writing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from families import small_classifier  # noqa: E402
from tiny import EPOCHS, STRATEGIES, tiny_task  # noqa: E402

from coursekit.training import session  # noqa: E402


def main() -> None:
    folder, threads, *delays = sys.argv[1:]
    session.SAVE_SECONDS = -1.0
    # Once, so that the children need not load it all; on one thread, which a fork survives.
    torch.set_num_threads(1)
    STRATEGIES["head"].fit(small_classifier("bert"), tiny_task(), epochs=1)
    for name, strategy in STRATEGIES.items():
        for delay in delays:
            states = Path(folder) / f"{name}-{delay}"
            child = os.fork()
            if child == 0:
                torch.set_num_threads(int(threads))
                model = small_classifier("bert")
                strategy.fit(model, tiny_task(), epochs=EPOCHS, seed=3, checkpoint_dir=states)
                os._exit(0)
            while not list(states.glob("state-*")):
                time.sleep(0.001)
            time.sleep(int(delay) / 100)
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            print(name, delay, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)


if __name__ == "__main__":
    main()
