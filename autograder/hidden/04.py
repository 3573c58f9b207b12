"""Hidden checks of lesson 04; how such a file is read stands in 00.py."""

from coursekit.checks import Wrong
from coursekit.grading.held_against import baseline_again, begins_fresh, different, phases_of


def _follows_the_schedule(name, run, phases):
    """Head, then the top two blocks, then the others; the embeddings never."""
    opened = [set(phase["learning_rates"]) for phase in phases_of(run)]
    blocks = sorted(
        {g for one in opened for g in one if g.startswith("block.")},
        key=lambda g: int(g.rpartition(".")[2]),
    )
    wanted = [{"head"}, {"head", *blocks[-2:]}, {"head", *blocks}][:phases]
    if opened != wanted:
        raise Wrong(f"`{name}` opened other groups than the schedule of 04.2 does.", share=0.3)


def check_04_4(scheduled, starts, final_epoch):
    """The run did what the schedule says, with a model that nothing had trained."""
    begins_fresh("scheduled", scheduled)
    _follows_the_schedule("scheduled", scheduled, 3)


def check_04_6(scheduled, shallow, full, forest, table):
    """Four runs of their own, and the forest is the forest."""
    _follows_the_schedule("shallow", shallow, 2)
    for name, run in (("shallow", shallow), ("full", full)):
        begins_fresh(name, run)
    # Where the third phase never came, or left nothing behind, both may well be one.
    different(scheduled=scheduled, full=full, forest=forest)
    different(shallow=shallow, full=full)
    baseline_again("forest", forest, "forest")
