"""Hidden checks of lesson 03; how such a file is read stands in 00.py."""

from functools import lru_cache

import numpy as np

import coursekit as ck
from coursekit.checks import CannotCheck, Wrong
from coursekit.grading.held_against import different, phases_of, stays_frozen
from coursekit.training.trial_parts import tiny_model


@lru_cache(maxsize=16)
def _kits(blocks, epochs):
    """What the kit's own strategy opens: groups, and rates as shares of the head's."""
    phases = ck.ProgressiveUnfreeze().phases(tiny_model(blocks), epochs)
    return [_shape(phase.learning_rates) for phase in phases]


def _shape(rates):
    return {group: rate / rates["head"] for group, rate in rates.items()} if "head" in rates else {}


def _same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and np.allclose([a[g] for g in a], [b[g] for g in a])
        for a, b in zip(one, other, strict=True)
    )


def check_03_2(MyUnfreeze):
    """A strategy that has the kit's own plan on every model was handed on, or copied."""
    plans = MyUnfreeze["plans"]
    own = [[_shape(phase["learning_rates"]) for phase in plan["phases"]] for plan in plans]
    kits = [_kits(plan["blocks"], plan["epochs"]) for plan in plans]
    if all(map(_same, own, kits)):
        raise CannotCheck("`MyUnfreeze` plans what ck.ProgressiveUnfreeze plans, for every model")


def check_03_4(frozen, full, progressive, mine, table):
    """Four runs, each of which did what its name says; the student's own opens from the top."""
    stays_frozen("frozen", frozen)
    different(frozen=frozen, full=full, progressive=progressive, mine=mine)
    names = ["embeddings", *(g for g in phases_of(full)[0]["learning_rates"] if "block" in g)]
    names = [names[0], *sorted(names[1:], key=lambda g: int(g.rpartition(".")[2])), "head"]
    for name, run in (("progressive", progressive), ("mine", mine)):
        before = set()
        for phase in phases_of(run):
            opened = set(phase["learning_rates"])
            if not before <= opened or opened != set(names[len(names) - len(opened) :]):
                raise Wrong(f"The phases of `{name}` do not open from the top down.", share=0.5)
            before = opened
