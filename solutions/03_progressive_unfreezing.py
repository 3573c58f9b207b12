# ---
# jupyter:
#   coursekit:
#     minutes: {quick: 1, cpu: 2, t4: 6, full: 10}
#     exercises: {"03.1": [10], "03.2": [20, 0.1, 0.1], "03.3": [10], "03.4": [10, 1.2, 5], "03.5": [5, 0.1, 0.1], "03.6": [10]}
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 Progressive unfreezing
#
# **Why this lesson.** Full fine-tuning moves every block from the first step on, while the new head still
# guesses, and misguided gradients run through all that pretraining taught. What if the blocks opened one
# after the other, from the top?
#
# **After it you can** work out learning rates per block, read a freeze map, write a training strategy of
# your own, compare strategies at equal time and over seeds, and say what a frozen block saves.
#
# **Needed before:** lesson 02. **Time:** 75 minutes, of which the computer works for about two on two
# processor cores (measured), and six on a T4 with ChemBERTa (an estimate). **Hand in:** this notebook, saved after
# its last cell.

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

env = ck.setup(lesson="03", made_with=ck.__version__)

# %% [markdown]
# ## Open from the top
# **Progressive unfreezing** (Howard and Ruder 2018, arXiv 1801.06146) trains the head alone
# first, then opens the top block, then the next one below. Lower blocks, which hold what is general, meet
# a head that already knows what it wants. A **freeze map** shows who trains when, and the explorer what it will take.

# %%
task = ck.load_task(env.task, share=env.pick(quick=0.05, cpu=0.2, t4=1.0))
lr = 1e-3 if env.encoder == "coursekit-mini" else 3e-5
model = ck.load_classifier(env.encoder, pooling="mean")
ck.strategy_explorer(model, task, ck.ProgressiveUnfreeze(lr=lr), epochs=8)

# %% [markdown]
# Read it as a staircase: hatched cells train, at the learning rate written there. In epoch 0 only the head
# does; each epoch one more group joins from above, the embeddings last. Rates fall downward and to the
# right. `encoder="DeepChem/ChemBERTa-77M-MLM"` in `ck.setup` has three blocks and shorter stairs; with
# `task="mapk14"`, fetched before, only numbers change.
#
# ### Exercise 03.1: learning rates by hand
# **Goal:** work out **discriminative** learning rates: each block has a share of the rate of the one
# above. Take a model of 12 blocks, a rate of 2e-5 for the head *and* the top block, and a share of 0.9.
# Put the rates of the blocks into the list `block_rates`, block 0 (the lowest) first, and that of the
# embeddings, one step lower still, into `embeddings_rate`.

# %% coursekit="wrong 03.1"
# gets: stands upside down
block_rates = [2e-5 * 0.9**i for i in range(12)]
embeddings_rate = 2e-5 * 0.9**12
ck.check("03.1", block_rates, embeddings_rate)

# %% coursekit="wrong 03.1"
# gets: begins one step too low
block_rates = [2e-5 * 0.9 ** (12 - i) for i in range(12)]
ck.check("03.1", block_rates, embeddings_rate)

# %% coursekit="wrong 03.1"
# gets: the same amount off each time
block_rates = [2e-5 * (1 - 0.1 * (11 - i)) for i in range(12)]
ck.check("03.1", block_rates, embeddings_rate)

# %% coursekit="wrong 03.1"
# gets: lower blocks are the slower ones
block_rates = [2e-5 / 0.9 ** (11 - i) for i in range(12)]
ck.check("03.1", block_rates, embeddings_rate)

# %% coursekit="wrong 03.1"
# gets: the embeddings lie one step below it
block_rates = [2e-5 * 0.9 ** (11 - i) for i in range(12)]
ck.check("03.1", block_rates, block_rates[0])

# %% coursekit="wrong 03.1"
# gets: one for each of 12 blocks
ck.check("03.1", block_rates[1:], embeddings_rate)

# %% coursekit="answer 03.1"
# 03.1 Learning rates by hand
block_rates = ...
embeddings_rate = ...
### BEGIN SOLUTION
block_rates = [2e-5 * 0.9 ** (11 - block) for block in range(12)]
embeddings_rate = 2e-5 * 0.9**12
### END SOLUTION

# %% coursekit="check 03.1"
ck.check("03.1", block_rates, embeddings_rate)

# %% [markdown] coursekit="hint 03.1"
# Block 11 is the top one and has 2e-5; block 10 has 0.9 of that; how many steps is block 0 below?

# %% [markdown] coursekit="hint 03.1"
# `[2e-5 * 0.9 ** (11 - block) for block in range(12)]`

# %% [markdown] coursekit="success 03.1"
# - I can work out the rate of any block from that of the top one.
# - I can say why lower blocks get less.
#
# "Who introduced discriminative learning rates, and on which model?"

# %% [markdown]
# ## A strategy of your own
# In the kit a strategy is one class with one method. `phases(model, epochs)` returns a list of
# `ck.Phase(learning_rates, epochs)`: the learning rate of each group that trains, by name, and for how
# long; `self.lr` is the strategy's own rate. A group that is not named stays frozen. `list(model.groups)` names them from the embeddings up to
# the head; `epochs=None` in the last phase takes what is left.
#
# ### Exercise 03.2: write it
# **Goal:** `MyUnfreeze`, which opens from the top in your own way, say two blocks at a time. Begin with
# the head, keep open what is open, leave no gap, no lower block faster than a higher one.
# `ck.try_strategy(MyUnfreeze)` runs the suite that the kit's own strategies pass. It plans for 3, 6 and
# 12 blocks and 2 to 30 epochs, so name no block by its number.


# %% coursekit="wrong 03.2"
# gets: takes exactly the epochs that it is given
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        names = list(model.groups)
        return [ck.Phase(dict.fromkeys(names[-1 - k :], self.lr), epochs=1) for k in range(3)]


ck.check("03.2", MyUnfreeze)


# %% coursekit="wrong 03.2"
# gets: names the group 'block.5'
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        both = {"head": self.lr, "block.5": self.lr}
        return [ck.Phase({"head": self.lr}, epochs=1), ck.Phase(both)]


ck.check("03.2", MyUnfreeze)


# %% coursekit="wrong 03.2"
# gets: freezes head again
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        *_, block, head = model.groups
        return [ck.Phase({head: self.lr}, epochs=1), ck.Phase({block: self.lr})]


ck.check("03.2", MyUnfreeze)


# %% coursekit="wrong 03.2"
# gets: opens the lowest block at once
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        return [ck.Phase(dict.fromkeys(model.groups, self.lr))]


ck.check("03.2", MyUnfreeze)


# %% coursekit="wrong 03.2"
# gets: leaves a gap
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        _, low, *_, head = model.groups
        return [ck.Phase({head: self.lr}, epochs=1), ck.Phase({head: self.lr, low: self.lr})]


ck.check("03.2", MyUnfreeze)


# %% coursekit="wrong 03.2"
# gets: learns faster than one above it
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        *_, block, head = model.groups
        return [ck.Phase({head: self.lr}, epochs=1), ck.Phase({head: self.lr, block: 2 * self.lr})]


ck.check("03.2", MyUnfreeze)


# %% coursekit="wrong 03.2"
# gets: one of the kit's own
class MyUnfreeze(ck.ProgressiveUnfreeze):
    pass


ck.check("03.2", MyUnfreeze)


# %% coursekit="wrong 03.2"
# gets: phases() must return Phase objects
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        return [{"head": self.lr}]


ck.check("03.2", MyUnfreeze)


# %% coursekit="answer 03.2"
# 03.2 A strategy of your own
class MyUnfreeze(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        ### BEGIN SOLUTION
        names = list(model.groups)[::-1]  # the head first
        rates = {name: self.lr * 0.9 ** max(0, i - 1) for i, name in enumerate(names)}
        sizes = [*range(1, len(names), 2), len(names)][:epochs]  # two more each epoch
        opened = [{name: rates[name] for name in names[:size]} for size in sizes]
        return [*(ck.Phase(one, epochs=1) for one in opened[:-1]), ck.Phase(opened[-1])]
        ### END SOLUTION


ck.try_strategy(MyUnfreeze)

# %% coursekit="check 03.2"
ck.check("03.2", MyUnfreeze)

# %% [markdown] coursekit="hint 03.2"
# `list(model.groups)[-3:]` is the head and the two blocks below it, on a model of any depth.

# %% [markdown] coursekit="hint 03.2"
# All phases but the last take one epoch each, and the last has `epochs=None`. There may be fewer epochs
# than phases: cut the list.

# %% [markdown] coursekit="hint 03.2"
# `sizes = [*range(1, len(names), 2), len(names)][:epochs]` says how many groups are open in each phase.

# %% [markdown] coursekit="success 03.2"
# - My strategy keeps all promises of the suite.
# - It works on a model of another depth, and with few epochs.
#
# "When does gradual unfreezing help a transformer, and who measured it?" Look whether its sources
# say so.

# %% [markdown]
# Each line of the table is a promise, such as that what was opened moved, in a training on 30 molecules,
# and all else kept every bit.
#
# ## Equal time
# An epoch of early phases costs less: only open blocks are trained. What is frozen gives the same states
# each time, so the kit computes them once and keeps them: the **frozen-prefix cache**. Count an epoch
# with k of L blocks open as k/L of a full one (head and embeddings cost next to nothing). Comparing equal
# epochs would then favor full fine-tuning; equal time is fair.
#
# ### Exercise 03.3: how many epochs?
# **Goal:** `progressive_epochs`, the most epochs of `ProgressiveUnfreeze`, one block more in each, that cost
# no more than `full_epochs` full ones. The first epoch, with the head alone, is free; once all blocks are
# open an epoch costs 1.

# %% coursekit="wrong 03.3"
# gets: equal epochs are not equal time
full_epochs = 5
ck.check("03.3", 5, full_epochs, model)

# %% coursekit="wrong 03.3"
# gets: as if frozen blocks ran in every epoch
ck.check("03.3", 7, full_epochs, model)

# %% coursekit="wrong 03.3"
# gets: the last of them no longer fits
ck.check("03.3", 9, full_epochs, model)

# %% coursekit="wrong 03.3"
# gets: Add up the costs of epochs
ck.check("03.3", 20, full_epochs, model)

# %% coursekit="answer 03.3"
# 03.3 How many epochs cost as much?
full_epochs = env.pick(quick=2, cpu=5)
progressive_epochs = ...
### BEGIN SOLUTION
blocks, spent, progressive_epochs = len(model.blocks), 0, 0
while spent + min(progressive_epochs, blocks) / blocks <= full_epochs:
    spent += min(progressive_epochs, blocks) / blocks
    progressive_epochs += 1
### END SOLUTION

# %% coursekit="check 03.3"
ck.check("03.3", progressive_epochs, full_epochs, model)

# %% [markdown] coursekit="hint 03.3"
# With six blocks the epochs cost 0, 1/6, 2/6, 3/6, …; write the sum so far beside each.

# %% [markdown] coursekit="hint 03.3"
# The first seven epochs cost 21/6 = 3.5; each later one costs 1.

# %% [markdown] coursekit="success 03.3"
# - I can say why equal epochs are not a fair comparison.
# - I can say what the kept states save.
#
# "Why does training a layer cost about three times as much as only running it?"

# %% [markdown]
# That was a count. A clock sees more: warm-up, validation, the pass that fills the cache. Here are a few
# steps of each phase, with the cache and without:

# %%
from dataclasses import replace

strategy = ck.ProgressiveUnfreeze(lr=lr)
for cache in ("fp32", "off"):
    cost = ck.expected_cost(replace(strategy, cache=cache), model, task, epochs=8)
    print(f"cache={cache!r}: {cost.training:.1f} s of training")

# %% [markdown]
# By count, eight epochs on six blocks cost 4.5 full ones with the cache and 5.7 without (a frozen block
# still runs forward, a third of its work): a gain of 1.26 at best. Over six epochs of a whole `fit`, on
# one processor core, 1.26 was measured (`benchmarks/prefix.py`). The losses are the same to seven digits.
#
# ### Exercise 03.4: one table
# **Goal:** four approaches at equal time. Fit `ck.HeadOnlyFinetune()` for 60 epochs as `frozen` (it cannot
# use more time), `ck.FullFinetune(lr=lr)` for `full_epochs` as `full`, and `progressive` and `mine` (your
# strategy, with `lr=lr`) for `progressive_epochs`. `fitted` loads a new model each time. Put the comparison into `table`.


# %% coursekit="wrong 03.4"
# gets: that is not equal time
def fitted(strategy, epochs):
    fresh = ck.load_classifier(env.encoder, pooling="mean")
    return strategy.fit(fresh, few, epochs=epochs)


class Mine(ck.FinetuneStrategy):
    def phases(self, model, epochs):
        return [ck.Phase({"head": self.lr})]


few = ck.load_task(env.task, share=0.02)
frozen, full = fitted(ck.HeadOnlyFinetune(), 2), fitted(ck.FullFinetune(), 3)
progressive, mine = fitted(ck.ProgressiveUnfreeze(), 3), fitted(Mine(), 2)
table = ck.compare({"frozen": frozen, "full": full, "progressive": progressive, "mine": mine})
ck.check("03.4", frozen, full, progressive, mine, table)

# %% coursekit="wrong 03.4"
# gets: fit your own
ck.check("03.4", frozen, full, progressive, progressive, table)

# %% coursekit="wrong 03.4"
# gets: had been trained; load a fresh one
worn = ck.load_classifier(env.encoder, pooling="mean")
frozen = ck.HeadOnlyFinetune().fit(worn, few, epochs=2)
mine = Mine().fit(worn, few, epochs=2)
ck.check("03.4", frozen, full, progressive, mine, table)

# %% coursekit="wrong 03.4"
# gets: `full` is a run of ProgressiveUnfreeze
ck.check("03.4", frozen, progressive, progressive, mine, table)


# %% coursekit="answer 03.4"
# 03.4 Equal time, one table
def fitted(strategy, epochs):
    fresh = ck.load_classifier(env.encoder, pooling="mean")
    return strategy.fit(fresh, task, epochs, checkpoint_dir=env.folder(type(strategy).__name__))


frozen = ...
full = ...
progressive = ...
mine = ...
table = ...
### BEGIN SOLUTION
frozen = fitted(ck.HeadOnlyFinetune(), 60)
full = fitted(ck.FullFinetune(lr=lr), full_epochs)
progressive = fitted(ck.ProgressiveUnfreeze(lr=lr), progressive_epochs)
mine = fitted(MyUnfreeze(lr=lr), progressive_epochs)
table = ck.compare({"frozen": frozen, "full": full, "progressive": progressive, "mine": mine})
### END SOLUTION
table

# %% coursekit="check 03.4"
ck.check("03.4", frozen, full, progressive, mine, table)

# %% [markdown] coursekit="hint 03.4"
# `fitted(strategy, epochs)` gives a run; call it four times, then `ck.compare` with a dict.

# %% [markdown] coursekit="hint 03.4"
# `full = fitted(ck.FullFinetune(lr=lr), full_epochs)`, and the others likewise.

# %% [markdown] coursekit="success 03.4"
# - All four runs have about the same time, or I know why not.
# - I can say which groups moved furthest.
#
# "Why might the top layers of an encoder be worth initializing anew?"

# %% [markdown]
# Dotted lines in a curve mark where a block opens. Look at the seconds, too: is the time equal, and if
# not, what did the count leave out? The **unfreezing player** steps through your run, or the course's:
# how far had each group moved, as a share of its weights' length?

# %%
watched = ck.bundled_run("progressive") if progressive is ... else progressive
player = ck.unfreezing_player(watched)
player.epoch = watched.cost["epochs"] - 1
player

# %% [markdown]
# The head and the upper blocks went furthest: they had the longest time and the highest rates.
#
# ## More than one seed
# Another **seed** gives the head other first weights and the molecules another order, and each strategy
# lands somewhere else. The intervals in your table do not know that: they come from drawing test molecules
# anew. The course brings nine runs along, three strategies with three seeds on the whole
# sample, full for 5 and progressive for 8 epochs (profile `cpu`).
#
# ### Exercise 03.5: is it more than chance?
# **Goal:** `gains`, a list of three numbers: for seeds 0, 1 and 2, the hard AUROC on the test part of
# `"progressive"` minus that of `"fine-tuned"`. `ck.bundled_run(name, seed).scores(n_boot=0)` has them.


# %% coursekit="wrong 03.5"
# gets: sign turned
def hard(name, seed, part="test"):
    return ck.bundled_run(name, seed).scores(part, n_boot=0).auroc_hard.value


ck.check("03.5", [hard("fine-tuned", s) - hard("progressive", s) for s in range(3)])

# %% coursekit="wrong 03.5"
# gets: against fine-tuned is asked for
ck.check("03.5", [hard("progressive", s) - hard("frozen", s) for s in range(3)])

# %% coursekit="wrong 03.5"
# gets: of the validation part
ck.check(
    "03.5", [hard("progressive", s, "valid") - hard("fine-tuned", s, "valid") for s in range(3)]
)

# %% coursekit="wrong 03.5"
# gets: one for each of seeds
ck.check("03.5", [hard("progressive", 0) - hard("fine-tuned", 0)])

# %% coursekit="answer 03.5"
# 03.5 More than one seed
gains = ...


### BEGIN SOLUTION
def hard(name, seed):
    return ck.bundled_run(name, seed).scores(n_boot=0).auroc_hard.value


gains = [hard("progressive", seed) - hard("fine-tuned", seed) for seed in range(3)]
### END SOLUTION
gains

# %% coursekit="check 03.5"
ck.check("03.5", gains)

# %% [markdown] coursekit="hint 03.5"
# One score is `ck.bundled_run("progressive", 0).scores(n_boot=0).auroc_hard.value`.

# %% [markdown] coursekit="hint 03.5"
# Subtract seed by seed, then you have three numbers to look at.

# %% [markdown] coursekit="success 03.5"
# - I can say what seeds add to an interval.
# - I can say why three seeds decide little.
#
# "How many seeds do I need to see a difference of 0.01 if seeds differ by 0.02?"

# %%
from coursekit.evaluation.figures import seeds_figure

names = ("frozen", "fine-tuned", "progressive")
seeds_figure({name: [ck.bundled_run(name, seed) for seed in range(3)] for name in names})

# %% [markdown]
# Each mark is one training, the line their mean. Both ways of opening the encoder are far from the frozen
# one. Progressive lies lower with each seed, by 0.012 on average, where its own seeds differ by up to 0.019;
# three are too few to call that a loss. **A negative
# result**: on the whole sample, at equal time, opening step by step buys nothing in AUROC; its best epoch
# was the last one each time, so it was still learning when the time was over. Does it pay where labels
# are few? Your own table, on fewer labels but with one seed, cannot say.
#
# ## Reflection
# ### Exercise 03.6
# A colleague has 200 labeled molecules, a pretrained encoder of twelve blocks, and one evening with a T4.
# In three to five sentences: would you unfreeze progressively, how deep, and how find out whether it
# helped? A person reads this.

# %% coursekit="answer 03.6"
# 03.6 When to unfreeze step by step
reflection_03 = ...
### BEGIN SOLUTION
reflection_03 = """
With 200 labels, 85 million weights that all move will learn them by heart, so I would begin with the
head and open only the top two or three blocks, at falling learning rates; what stays frozen can be
cached, so many short runs fit into an evening. I would compare it with the frozen encoder and with
full fine-tuning at equal time, on the same split, with five seeds each, and believe a difference only
if it is larger than what the seeds do. The forest of lesson 00 has to be in the table as well.
"""
### END SOLUTION

# %% coursekit="check 03.6"
ck.check("03.6", reflection_03)

# %% [markdown] coursekit="hint 03.6"
# How many weights would move, for how many labels? What does depth cost, and what does it risk?

# %% [markdown] coursekit="hint 03.6"
# A difference between two runs is worth as much as its comparison: same time, same molecules, seeds.

# %% [markdown] coursekit="rubric 03.6"
# One point each: (1) few labels against many weights, and so a limit to the depth; (2) learning rates or
# order of opening with a reason; (3) a comparison at equal time or equal cost; (4) several seeds, or an
# interval, before a difference is believed.

# %% [markdown] coursekit="success 03.6"
# - I weigh weights that move against labels.
# - My comparison could prove me wrong.
#
# "What is known about fine-tuning on fewer than 500 labels?" Ask for sources, and look whether they
# say so.

# %% [markdown]
# ## Before you hand in
# Could you say each sentence of the success lists to a colleague? Ask your assistant what the checks
# suggest, and hold one claim of each answer against a source or your own numbers.
#
# **To go further:** `ck.ProgressiveUnfreeze(max_unfrozen=2)`: how much of the gain do two blocks give?
# Next: lesson 04, where a schedule decides when a block opens.

# %%
ck.handin()
