"""Hidden checks of lesson 00. The grader is given this file; nothing in coursekit imports it.

Each takes the answers that the public check takes. ``Wrong`` takes points, ``CannotCheck`` asks
for a person.
"""

from functools import lru_cache

import numpy as np

from coursekit.checks import CannotCheck, Wrong, expect
from coursekit.checks.truth import the_task
from coursekit.data import load_selection
from coursekit.evaluation import fingerprint_baseline


@lru_cache(maxsize=8)
def _again(name, fingerprint, model):
    task = the_task("task", {"name": name, "fingerprint": fingerprint})
    return fingerprint_baseline(task, model).predictions.set_index("molecule_id")["score"]


def made_by(run, model):
    """A baseline is made again here; one with other predictions did not come from it."""
    mine = _again(run.task["name"], run.task["fingerprint"], model)
    theirs = run.predictions.set_index("molecule_id")["score"].reindex(mine.index)
    if theirs.isna().any():
        raise Wrong("The run lacks molecules of its task.")
    # Another version of scikit-learn grows other trees, which rank nearly alike.
    agreement = float(np.corrcoef(mine, theirs)[0, 1]) if theirs.std() else 0.0
    if not agreement > 0.9:
        raise CannotCheck(f"the {model} made again here predicts otherwise (r = {agreement:.2f})")


@lru_cache(maxsize=1)
def _reads_per_load():
    """Of the bundled selection; a course on another one names it here."""
    table = load_selection("sample")
    binders = table[table["target_enrichment"] >= 1]
    reads = binders[["seq_target_1", "seq_target_2", "seq_target_3"]].to_numpy().sum()
    return float(reads / binders["seq_load"].sum())


def check_00_3(reads_per_load, p_silent):
    """The public check follows the student's own rate; here is the rate itself."""
    expect.close("reads_per_load", reads_per_load, _reads_per_load(), rel=0.02)


def check_00_5(logistic, forest, baselines):
    """Both runs are what the baselines give."""
    made_by(logistic, "logistic")
    made_by(forest, "forest")


CHECKS = {"00.3": check_00_3, "00.5": check_00_5}
