"""Run as a program: train in processes of their own and kill them there, for test_resume.

    python killed.py FOLDER THREADS SEED KILLS

Each strategy is trained once to its end. Then it trains again, saving a state at every step, and is
sent SIGKILL after a random time: in a step, in a validation, or in the middle of writing. Another
process goes on in the same folder and is killed in its turn, until one comes to the end; what it
ends with is compared bit by bit. So on, until so many have been killed. Prints one line of JSON for
each strategy.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from families import small_classifier  # noqa: E402
from tiny import EPOCHS, STRATEGIES, tiny_task  # noqa: E402

from coursekit.storage import states  # noqa: E402
from coursekit.training import session  # noqa: E402


def outcome(name: str, folder: Path | None, began: Path) -> str:
    """Digest of everything that a run leaves: history, predictions, weights, counts."""
    open_phase = session.Session.open_phase

    def tell(self: session.Session) -> None:
        began.touch()
        open_phase(self)

    session.Session.open_phase = tell
    model = small_classifier("bert")
    run = STRATEGIES[name].fit(model, tiny_task(), epochs=EPOCHS, seed=3, checkpoint_dir=folder)
    left = [run.history.to_csv(), run.predictions.to_csv(), model.digest(), str(run.cost["steps"])]
    return hashlib.sha256("\n".join(left).encode()).hexdigest()


class Child:
    """A process that trains; ``digest`` is what it ended with, None where it was killed."""

    def __init__(self, name: str, folder: Path | None, scratch: Path, threads: int) -> None:
        self.began, self.result = scratch / "began", scratch / "result"
        for file in (self.began, self.result):
            file.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                torch.set_num_threads(threads)
                self.result.write_text(outcome(name, folder, self.began))
                code = 0
            finally:
                os._exit(code)

    def end(self, after: float | None = None) -> str | None:
        """Wait for its end, or kill it so many seconds after it began to train."""
        if after is not None:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            while not self.began.exists() and os.waitid(os.P_PID, self.pid, look) is None:
                time.sleep(0.001)
            time.sleep(after)
            os.kill(self.pid, signal.SIGKILL)  # nothing happens to one that has ended
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return None
        assert status == 0, "training failed: see above"
        return self.result.read_text()


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    seed, kills = int(sys.argv[3]), int(sys.argv[4])
    rng = np.random.default_rng(seed)
    session.SAVE_SECONDS = -1.0
    # Once, so that the children need not load it all; on one thread, which a fork survives.
    torch.set_num_threads(1)
    STRATEGIES["head"].fit(small_classifier("bert"), tiny_task(), epochs=1)
    for name in STRATEGIES:
        spare = folder / f"{name}-spare"
        began = time.monotonic()
        expected = Child(name, spare, folder, threads).end()
        seconds = time.monotonic() - began
        shutil.rmtree(spare)
        found = {"strategy": name, "seed": seed, "steps": [], "delays": [], "ends": 0, "wrong": []}
        chain = folder / name
        while True:
            enough = len(found["steps"]) >= kills
            delay = None if enough else float(rng.uniform(0, 0.5 * seconds))
            digest = Child(name, chain, folder, threads).end(delay)
            if digest is None:
                newest = states(chain)[-1:]
                found["steps"].append(int(newest[0].name[-9:]) if newest else 0)
                found["delays"].append(round(delay, 3))
                if newest and not (folder / f"{name}-killed").exists():
                    shutil.copytree(chain, folder / f"{name}-killed")
                continue
            found["ends"] += 1
            if digest != expected:
                found["wrong"].append(len(found["steps"]))
            shutil.rmtree(chain)
            if enough:
                break
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
