# ---
# jupyter:
#   coursekit:
#     minutes: {quick: 1, cpu: 2, t4: 4, full: 4}
#     exercises: {"04.1": [5, 0.1, 0.1], "04.2": [10, 0.1, 0.1], "04.3": [10], "04.4": [10, 0.5, 2], "04.5": [10], "04.6": [10, 0.8, 2], "04.7": [10]}
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 Fine-tuning schedules
#
# **Why this lesson.** Lesson 03 opened blocks by the clock, which does not know whether a block has learned
# what it can. A **schedule** says phase by phase what opens, how fast it learns, and what ends the phase,
# in a text that a colleague can read and change.
#
# **After it you can** generate a schedule, write and repair one in YAML, read from a trace when the next
# phase begins and with which weights, let learning rates follow a phase, and judge whether depth was worth
# its time.
#
# **Needed before:** lesson 03. **Time:** 60 to 75 minutes, of which the computer works for about two on
# two processor cores (measured) and four on a T4 (an estimate). **Hand in:** this
# notebook, saved after its last cell.

# %% [markdown]
# ## Setup
# On Colab, first upload coursekit's wheel (`coursekit-….whl`) to the files pane.

# %%
import glob
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("coursekit") is None:
    wheel = glob.glob("coursekit-*.whl")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *wheel], check=True)
import coursekit as ck

env = ck.setup(lesson="04", made_with=ck.__version__)

# %% [markdown]
# ## A schedule out of the model
# Given nothing but a model, the kit writes an **implicit schedule**: the head first, then one block a
# phase from the top, the embeddings last. A phase ends by **early stopping** (Prechelt 1998, doi
# 10.1007/3-540-49430-8_3): `patience=2` lets two validations pass that do not beat the best *of the whole
# run*. The library finetuning-scheduler, whose format and rules these are, opens two *parameters* (weights
# or biases) a phase; here `generate="pairs"` does.
#
# ### Exercise 04.1: how long is it?
# **Goal:** see the cost before you pay. Run the cell and find `n_phases` by blocks,
# `n_pairs` by pairs (`model.groups` has the names of all parameters), and `last_opens`: the epoch, counted
# from 0, in which the last phase begins if nothing ever beats epoch 0.

# %% coursekit="wrong 04.1"
# gets: the head opens first and the embeddings last
model = ck.load_classifier(env.encoder, pooling="mean")
n_names = sum(len(names) for names in model.groups.values())
ck.check("04.1", len(model.groups) - 1, n_names // 2, 15, model)

# %% coursekit="wrong 04.1"
# gets: the head and the embeddings have phases too
ck.check("04.1", len(model.groups) - 2, n_names // 2, 15, model)

# %% coursekit="wrong 04.1"
# gets: of which two open in one phase
ck.check("04.1", len(model.groups), n_names, 15, model)

# %% coursekit="wrong 04.1"
# gets: only phase 0 has a first best
ck.check("04.1", len(model.groups), -(-n_names // 2), 3 * (len(model.groups) - 1), model)

# %% coursekit="wrong 04.1"
# gets: its first validation is always the best so far
ck.check("04.1", len(model.groups), -(-n_names // 2), 2 * (len(model.groups) - 1), model)

# %% coursekit="answer 04.1"
# 04.1 How long is it?
model = ck.load_classifier(env.encoder, pooling="mean")
implicit = ck.ScheduledFinetune(lr=1e-3, base_max_lr=1e-3, patience=2)
n_phases = ...
n_pairs = ...
last_opens = ...
### BEGIN SOLUTION
n_phases = len(model.groups)
n_names = sum(len(names) for names in model.groups.values())
n_pairs = -(-n_names // 2)  # half of them, rounded up
last_opens = 3 + (n_phases - 2) * 2  # phase 0 takes three epochs, each other one two
### END SOLUTION
implicit.plan(model, epochs=16)

# %% coursekit="check 04.1"
ck.check("04.1", n_phases, n_pairs, last_opens, model)

# %% [markdown] coursekit="hint 04.1"
# Write the epochs down: 0 is the best, 1 and 2 are not, so phase 0 ends after epoch 2. And phase 1?

# %% [markdown] coursekit="hint 04.1"
# Phase 0 takes 3 epochs, each later one 2. How many phases lie before the last one?

# %% [markdown] coursekit="success 04.1"
# - I can count the phases of a schedule out of a model.
# - I can say when the last phase begins if nothing gets better.
#
# "What are the risks of ending a training by patience when the validation set is small?"

# %% [markdown]
# From row to row more trains. In
# finetuning-scheduler's documentation (2.13; a language model, DeBERTa-v3-base, on RTE; one seed) a schedule by pairs took
# about 17,000 steps to an accuracy of 0.84, two hand-written phases 620 to 0.85, plain fine-tuning 390 to
# 0.81. On 277 validation pairs, one standard error is 0.02.
#
# ## A schedule of your own
# An **explicit schedule** is YAML. Each phase has `params` (groups, parameters, or patterns that fit
# *whole* names), and may have `lr`, with which these begin (else `base_max_lr`), and `max_transition_epoch`, the epoch of the
# run *before* which the phase ends at the latest. A colleague's draft:


# %%
def try_plan(schedule):
    try:
        return ck.ScheduledFinetune(schedule, lr=1e-3, patience=2).plan(model, epochs=12)
    except ck.CourseKitError as error:
        print(error)


try_plan("""
0: {params: [head], max_transition_epochs: 2}
1: {params: ["block.*"]}
""")

# %% [markdown]
# A schedule that cannot work is refused before anything trains, with the place and a remedy.
#
# ### Exercise 04.2: write it
# **Goal:** say in YAML what you want. Phase 0: the head, until epoch 2 at the latest. Phase 1: the two
# top blocks at 1.0e-3, until epoch 6 at the latest. Phase 2: all other blocks at 5.0e-4, ended by patience
# alone. The embeddings stay frozen. Put the text, in triple quotes, into `my_schedule`.

# %% coursekit="wrong 04.2"
# gets: did you mean 'max_transition_epoch'?
my_schedule = """
0: {params: [head], max_transition_epochs: 2}
1: {params: [block.5, block.4], lr: 1.0e-3, max_transition_epoch: 6}
2: {params: ["block.[0-3]"], lr: 5.0e-4}
"""
ck.check("04.2", my_schedule, model)

# %% coursekit="wrong 04.2"
# gets: a parameter opens once
ck.check("04.2", my_schedule.replace("epochs:", "epoch:").replace("[0-3]", ".*"), model)

# %% coursekit="wrong 04.2"
# gets: so it would begin with base_max_lr
ck.check("04.2", my_schedule.replace("epochs:", "epoch:").replace(", lr: 5.0e-4", ""), model)

# %% coursekit="wrong 04.2"
# gets: has max_transition_epoch 1; max_transition_epoch: 2
ck.check("04.2", my_schedule.replace("epochs: 2", "epoch: 1"), model)

# %% coursekit="wrong 04.2"
# gets: opens the embeddings; they are to stay frozen
more = 'params: [embeddings, "block.[0-3]"]'
ck.check(
    "04.2",
    my_schedule.replace("epochs:", "epoch:").replace('params: ["block.[0-3]"]', more),
    model,
)

# %% coursekit="wrong 04.2"
# gets: lists are indented by spaces
ck.check("04.2", my_schedule.replace("[head]", "[head").replace("epochs:", "epoch:"), model)

# %% coursekit="wrong 04.2"
# gets: matches only the beginning of names
prefix = my_schedule.replace("epochs:", "epoch:").replace("block.[0-3]", "encoder.layers.[0-3]")
ck.check("04.2", prefix, model)

# %% coursekit="wrong 04.2"
# gets: is a single line
ck.check("04.2", "my_schedule.yaml", model)

# %% coursekit="answer 04.2"
# 04.2 A schedule of your own
my_schedule = ...
### BEGIN SOLUTION
my_schedule = """
0: {params: [head], max_transition_epoch: 2}
1: {params: [block.5, block.4], lr: 1.0e-3, max_transition_epoch: 6}
2: {params: ["block.[0-3]"], lr: 5.0e-4}
"""
### END SOLUTION

# %% coursekit="check 04.2"
ck.check("04.2", my_schedule, model)

# %% [markdown] coursekit="hint 04.2"
# Repair the draft first, then add to it; `print(implicit.dump(model))` shows a whole schedule.

# %% [markdown] coursekit="hint 04.2"
# One phase in one line: `1: {params: [block.5, block.4], lr: 1.0e-3, max_transition_epoch: 6}`. The
# pattern `block.[0-3]` fits four groups.

# %% [markdown] coursekit="success 04.2"
# - My text says who opens, how fast and until when.
# - I can say what a pattern must fit.
#
# "Write a schedule for a 12-block encoder and defend each line." Let the kit check its YAML.

# %%
plan = try_plan(my_schedule) if my_schedule is not ... else None
plan.plot() if plan else "The picture appears here after exercise 04.2."

# %% [markdown]
# The staircase is the schedule, if no phase ends early.
#
# ## When a phase ends, and what the next begins with
# A phase ends by patience, before its `max_transition_epoch`, or by whichever comes first. **Restore-best:**
# the next begins with the weights, and the optimizer's memory, of the best epoch of the run so far. So a
# phase that never beats that best leaves nothing behind.
#
# ### Exercise 04.3: predict the next transition
# **Goal:** read a trace. Validation losses by epoch, from 0, with `patience=2`:
#
# | trace | losses | also |
# |---|---|---|
# | a | 0.66, 0.60, 0.61, 0.62 | |
# | b | 0.66, 0.62, 0.63, 0.60 | `max_transition_epoch: 4` |
# | c | 0.66, 0.60, 0.61, 0.62, 0.64, 0.61 | phase 1 began in epoch 4 |
#
# For each, a pair: the epoch in which the next phase begins, and that whose weights it takes.

# %% coursekit="wrong 04.3"
# gets: epoch 3 still belongs to phase 0
trace_a = (3, 1)
ck.check("04.3", trace_a, (4, 3), (6, 1))

# %% coursekit="wrong 04.3"
# gets: the weights of epoch 3 are worse
ck.check("04.3", (4, 3), (4, 3), (6, 1))

# %% coursekit="wrong 04.3"
# gets: *before* its max_transition_epoch begins
ck.check("04.3", (4, 1), (5, 3), (6, 1))

# %% coursekit="wrong 04.3"
# gets: not the best of the run, and that counts
ck.check("04.3", (4, 1), (4, 3), (6, 5))

# %% coursekit="wrong 04.3"
# gets: which is in phase 0
ck.check("04.3", (4, 1), (4, 3), (8, 5))

# %% coursekit="answer 04.3"
# 04.3 Predict the next transition
trace_a = ...
trace_b = ...
trace_c = ...
### BEGIN SOLUTION
trace_a = (4, 1)  # epochs 2 and 3 did not beat epoch 1
trace_b = (4, 3)  # epoch 3 set patience back; the number in the schedule ends the phase
trace_c = (6, 1)  # epochs 4 and 5 did not beat 0.60, the best of the run
### END SOLUTION

# %% coursekit="check 04.3"
ck.check("04.3", trace_a, trace_b, trace_c)

# %% [markdown] coursekit="hint 04.3"
# Keep two things in mind while you read: the lowest loss so far, and how many epochs it has stood.

# %% [markdown] coursekit="hint 04.3"
# In trace c the best is 0.60, of epoch 1. Do epochs 4 and 5 beat it?

# %% [markdown] coursekit="success 04.3"
# - I can say from a trace when the next phase begins, and with which weights.
# - I can say what ends a phase first.
#
# "Why go back to the best weights before the next layers open?"

# %% [markdown]
# ### Exercise 04.4: train by it, and read the trace
# **Goal:** the same on a run of your own. Fit the schedule as `scheduled`, for 12 epochs. From the rows of
# `scheduled.history` with `split` "valid", make `starts`, a dict from phase to its first epoch, and
# `final_epoch`, the epoch whose weights you get back. See `scheduled.notes` too.

# %% coursekit="wrong 04.4"
# gets: the last epoch of each phase
task = ck.load_task(env.task).share(0.02)
strategy = ck.ScheduledFinetune(my_schedule, lr=1e-3, patience=2)
tiny = ck.load_classifier(env.encoder, pooling="mean")
small_run = strategy.fit(tiny, task, epochs=8)
valid = small_run.history.query("split == 'valid'")
ck.check("04.4", small_run, valid.groupby("phase")["epoch"].max().to_dict(), 0)

# %% coursekit="wrong 04.4"
# gets: the history says another
ck.check("04.4", small_run, {n: 3 * n + 1 for n in valid["phase"].unique()}, 0)

# %% coursekit="wrong 04.4"
# gets: those of the epoch with the lowest validation loss
ck.check("04.4", small_run, valid.groupby("phase")["epoch"].min().to_dict(), 77)

# %% coursekit="wrong 04.4"
# gets: ScheduledFinetune(my_schedule, ...)` is wanted
head_only = ck.HeadOnlyFinetune().fit(tiny, task, epochs=2)
ck.check("04.4", head_only, {0: 0}, 0)

# %% coursekit="wrong 04.4"
# gets: another schedule than the one of 04.2
other = ck.ScheduledFinetune(max_depth=1, patience=2).fit(tiny, task, epochs=2)
ck.check("04.4", other, {0: 0}, 0)

# %% coursekit="answer 04.4"
# 04.4 Train by it, and read the trace
task = ck.load_task(env.task).share(env.pick(quick=0.05, cpu=0.25, t4=1))
scheduled = ...
starts = ...
final_epoch = ...
### BEGIN SOLUTION
strategy = ck.ScheduledFinetune(my_schedule, lr=1e-3, patience=2)
scheduled = strategy.fit(model, task, epochs=12, checkpoint_dir=env.folder("scheduled"))
valid = scheduled.history.query("split == 'valid'")
starts = valid.groupby("phase")["epoch"].min().to_dict()
final_epoch = int(valid.loc[valid["loss"].idxmin(), "epoch"])
print(*scheduled.notes, sep="\n")
### END SOLUTION
ck.unfreezing_player(ck.bundled_run("scheduled") if scheduled is ... else scheduled)

# %% coursekit="check 04.4"
ck.check("04.4", scheduled, starts, final_epoch)

# %% [markdown] coursekit="hint 04.4"
# `strategy.fit(model, task, epochs=12)` trains; `history.query("split == 'valid'")` picks rows.

# %% [markdown] coursekit="hint 04.4"
# `valid.groupby("phase")["epoch"].min().to_dict()`, and the epoch in the row where `loss` is lowest.

# %% [markdown] coursekit="success 04.4"
# - I can find each transition in the history of a run.
# - I can say which phase left nothing behind.
#
# "What does it mean if a newly opened layer makes the validation loss worse at once?"

# %% [markdown]
# On a quarter of the sample (profile `cpu`, two cores, one seed) numbers ended phases 0 and 1. Phase 2 began
# with the weights of epoch 4, did not beat them in epochs 6 and 7, and patience ended it. In the player,
# step to epoch 7: lower blocks have moved, and all of that is undone. **Phase 2 left nothing behind.**
#
# ## Rates that follow a phase
# A phase may begin a **learning-rate schedule**, such as a cosine that falls to zero over `T_max` epochs
# (Loshchilov and Hutter 2016, arXiv 1608.03983):
# `new_lr_scheduler: {lr_scheduler_init: {class_path: CosineAnnealingLR, init_args: {T_max: 6}}}`. It takes
# over for *all* open groups, each from the rate that it was opened with.
#
# ### Exercise 04.5: rates that fall with a phase
# **Goal:** move rates by phase. In `my_rates`, write the schedule of 04.2 again and let its phase 2 begin
# that cosine. By hand: what is the head's rate when phase 2 is half-way through, `head_rate`?

# %% coursekit="wrong 04.5"
# gets: has no new_lr_scheduler in phase 2
my_rates = my_schedule
ck.check("04.5", my_rates, 5e-4, model)

# %% coursekit="wrong 04.5"
# gets: a mapping with class_path and init_args is expected
last = "lr: 5.0e-4, new_lr_scheduler: "
cosine = "{class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 6}}"
my_rates = my_schedule.replace("lr: 5.0e-4", last + "{init_args: {T_max: 6}}")
ck.check(
    "04.5", my_rates.replace("{init_args", "{lr_scheduler_init: {init_args") + "}", 5e-4, model
)

# %% coursekit="wrong 04.5"
# gets: did you mean 'torch.optim.lr_scheduler.CosineAnnealingLR'
my_rates = my_schedule.replace("lr: 5.0e-4", f"{last}{{lr_scheduler_init: {cosine}}}")
ck.check("04.5", my_rates.replace("Annealing", "Anealing"), 5e-4, model)

# %% coursekit="wrong 04.5"
# gets: has T_max 12
ck.check("04.5", my_rates.replace("T_max: 6", "T_max: 12"), 5e-4, model)

# %% coursekit="wrong 04.5"
# gets: begins a StepLR
other = my_rates.replace("CosineAnnealingLR", "StepLR").replace("T_max", "step_size")
ck.check("04.5", other, 5e-4, model)

# %% coursekit="wrong 04.5"
# gets: that is what the blocks of phase 2 have come to
ck.check("04.5", my_rates, 2.5e-4, model)

# %% coursekit="wrong 04.5"
# gets: moves every group that is open
ck.check("04.5", my_rates, 1e-3, model)

# %% coursekit="answer 04.5"
# 04.5 Rates that fall with a phase
my_rates = ...
head_rate = ...
### BEGIN SOLUTION
my_rates = """
0: {params: [head], max_transition_epoch: 2}
1: {params: [block.5, block.4], lr: 1.0e-3, max_transition_epoch: 6}
2:
  params: ["block.[0-3]"]
  lr: 5.0e-4
  new_lr_scheduler:
    lr_scheduler_init: {class_path: CosineAnnealingLR, init_args: {T_max: 6}}
"""
head_rate = 5e-4  # half of the 1e-3 that the head began with
### END SOLUTION

# %% coursekit="check 04.5"
ck.check("04.5", my_rates, head_rate, model)

# %% [markdown] coursekit="hint 04.5"
# `new_lr_scheduler` stands beside `lr` in phase 2; the line in the text above can be copied.

# %% [markdown] coursekit="hint 04.5"
# Half-way through, a cosine that ends at zero has fallen to half. What did the *head* begin with?

# %% [markdown] coursekit="success 04.5"
# - I can say which groups a schedule of learning rates moves.
# - I can work out a rate half-way through a cosine.
#
# "How do a cosine, a step and a linear decay differ in what the last epochs do?"

# %%
from coursekit.evaluation.figures import learning_rate_plan

plan = try_plan(my_rates) if my_rates is not ... else None
learning_rate_plan(plan.per_epoch()) if plan else "The picture appears here after exercise 04.5."

# %% [markdown]
# Until epoch 6 the lines are flat; then all fall side by side, each from its own height.
#
# ## How deep?
# `max_depth=1` ends a schedule after phase 1: blocks below keep their pretrained weights, so the kit
# computes what they make of a molecule once (lesson 03).
#
# ### Exercise 04.6: was the depth worth it?
# **Goal:** judge by the table. On the same `task`, with a fresh model each, fit `shallow` (the schedule
# with `max_depth=1`, 12 epochs) and `full` (`ck.FullFinetune(lr=1e-3)`, 6 epochs); take the `forest` of
# lesson 00; compare the four in `table`.

# %% coursekit="wrong 04.6"
# gets: max_depth=1 is asked for
forest = ck.fingerprint_baseline(task, "forest")
table = ck.compare({"scheduled": scheduled, "forest": forest})
ck.check("04.6", scheduled, scheduled, forest, forest, table)

# %% coursekit="wrong 04.6"
# gets: `ck.FullFinetune(lr=1e-3)` is wanted
quick = ck.ScheduledFinetune(my_schedule, lr=1e-3, patience=2, max_depth=1)
fresh = ck.load_classifier(env.encoder, pooling="mean")
shallow = quick.fit(fresh, task, epochs=2)
ck.check("04.6", scheduled, shallow, forest, forest, table)

# %% coursekit="wrong 04.6"
# gets: fit them on the same one
full = ck.FullFinetune(lr=1e-3).fit(tiny, ck.load_task(env.task).share(0.02), epochs=1)
ck.check("04.6", scheduled, shallow, full, forest, table)

# %% coursekit="answer 04.6"
# 04.6 Was the depth worth it?
shallow = ...
full = ...
forest = ...
table = ...
### BEGIN SOLUTION
two_phases = ck.ScheduledFinetune(my_schedule, lr=1e-3, patience=2, max_depth=1)
fresh = [ck.load_classifier(env.encoder, pooling="mean") for _ in range(2)]
shallow = two_phases.fit(fresh[0], task, epochs=12, checkpoint_dir=env.folder("shallow"))
whole = ck.FullFinetune(lr=1e-3)
full = whole.fit(fresh[1], task, epochs=6, checkpoint_dir=env.folder("full"))
forest = ck.fingerprint_baseline(task, "forest")
runs = {"full": full, "scheduled": scheduled, "shallow": shallow, "forest": forest}
table = ck.compare(runs)
### END SOLUTION
table

# %% coursekit="check 04.6"
ck.check("04.6", scheduled, shallow, full, forest, table)

# %% [markdown] coursekit="hint 04.6"
# `max_depth` is an argument of `ck.ScheduledFinetune`, beside `patience`.

# %% [markdown] coursekit="hint 04.6"
# Load a classifier for each fit; `ck.compare({"full": full, …})` makes the table.

# %% [markdown] coursekit="success 04.6"
# - I know what the third phase brought, and how sure that is.
# - I can say what the schedule saved.
#
# "How would you compare two schedules fairly, and what would you hold fixed?"

# %% [markdown]
# In profile `cpu`, `scheduled` and `shallow` are equal: the third phase was thrown away.
# Hard AUROC is 0.713 for both, 0.723 for `full`, and zero lies inside the interval of the difference: **the schedule did not beat plain fine-tuning**. The forest is highest, 0.750, ahead of
# `full` by +0.027 [-0.026, +0.077]: chance could do that. What the schedule bought: two thirds of the
# parameters were left alone. Why no more? With 240 binders, perhaps two blocks fit what there is to fit; and 60 in
# validation are a noisy judge.
#
# **Elsewhere.** `encoder="DeepChem/ChemBERTa-77M-MLM"` in `ck.setup` has other blocks (see
# `model.groups`): write 04.2 as asked, but train with rates near 3e-5. After
# `coursekit data fetch mapk14`, `task="mapk14"` takes KinDEL's molecules.
#
# ## Reflection
# ### Exercise 04.7
# A colleague has a schedule of twenty phases with `patience=5` for thirty epochs. In three or four
# sentences: what will happen, what would you change first, and how would you show that the schedule is
# worth more than plain fine-tuning? A person reads this.

# %% coursekit="answer 04.7"
# 04.7 When does a schedule pay?
reflection_04 = ...
### BEGIN SOLUTION
reflection_04 = """
Each phase takes at least five epochs unless an epoch number ends it, so in thirty epochs about five
or six phases open and the lower blocks never train, whatever the text says. I would cut it to three or
four phases, a few blocks each, or give phases a max_transition_epoch and less patience. To show that
it pays I would compare it with full fine-tuning and with a frozen encoder at equal wall time, over
several seeds, with paired intervals on hard negatives, and keep the forest in the table.
"""
### END SOLUTION

# %% coursekit="check 04.7"
ck.check("04.7", reflection_04)

# %% [markdown] coursekit="hint 04.7"
# Do exercise 04.1 again with patience 5: how many phases fit into thirty epochs?

# %% [markdown] coursekit="hint 04.7"
# A schedule has more knobs than plain fine-tuning. What must a comparison hold fixed?

# %% [markdown] coursekit="rubric 04.7"
# One point each: (1) patience is counted against the epochs there are, so most phases never open; (2) a
# change that follows from it, fewer phases, epoch limits or less patience; (3) a fair comparison: equal
# time or steps, several seeds or intervals, and a baseline.

# %% [markdown] coursekit="success 04.7"
# - I count patience against the epochs that there are.
# - My comparison has a baseline.
#
# "Which published results compare unfreezing schedules with plain fine-tuning at equal cost?" Look
# whether its sources say so.

# %% [markdown]
# ## Before you hand in
# Could you say each sentence of the success lists to a colleague? Ask your assistant what the checks
# suggest, and hold one claim of each answer against a source or your own numbers.
#
# **To go further:** run `implicit` on the whole sample; does depth pay there? Next: lesson 05, what
# fine-tuning forgets.

# %%
ck.handin()
