# ---
# jupyter:
#   coursekit:
#     minutes: {quick: 1, cpu: 1, t4: 1, full: 1}
#     exercises: {"00.1": [5, 0.1, 0.1], "00.2": [10, 0.1, 0.1], "00.3": [10, 0.1, 0.1], "00.4": [5, 0.1, 0.1], "00.5": [10, 0.1, 0.1], "00.6": [10]}
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 Base camp
#
# **Why this lesson.** Everything later is judged by numbers that come from sequencing
# reads. Whoever does not know what those reads say, and what they do not, will trust the wrong model.
#
# **After it you can** read a selection table, compute an enrichment and say why it is cautious,
# explain why a molecule without reads may still bind, tell easy from hard negatives, and put up a
# baseline that any neural network has to beat.
#
# **Needed before:** Python with pandas. **Time:** 45 to 60 minutes, of which the computer works for
# less than one, on any machine. **Hand in:** this notebook, saved after its last cell.

# %% [markdown]
# ## Setup
# On Colab, first upload coursekit's wheel (`coursekit-….whl`) to the files pane; elsewhere the kit is
# installed already. A check shows what you can say when you are done, and the next hint if you are
# stuck; `ck.progress()` shows what is done.

# %%
import glob
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("coursekit") is None:
    wheel = glob.glob("coursekit-*.whl")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *wheel], check=True)
import coursekit as ck

env = ck.setup(lesson="00", made_with=ck.__version__)

# %% [markdown]
# ## What a selection is
# A **DNA-encoded library** (DEL) holds millions of molecules in one tube. Each was built in three
# cycles out of *building blocks* A, B and C, and each carries a strand of DNA that spells its recipe.
# The tube is washed over a protein, the **target**; what sticks is loosened again, and its DNA is
# sequenced: each **read** is one strand that was seen. The same is done with the empty carrier, the
# **matrix**, because some molecules stick to anything. The **load** is how often a molecule was read
# before any washing: whether it was in the tube at all.
#
# Our table has the thirteen columns of KinDEL (Chen et al. 2024, arXiv 2410.08938), which selected 81
# million molecules against the enzyme MAPK14. The bundled sample is **simulated**, on a library of the
# course's own: right for learning the trade, silent about MAPK14. After `coursekit data fetch mapk14`,
# `task="mapk14"` in `ck.setup` takes KinDEL itself; all numbers change then.

# %%
selection = ck.load_selection(env.task)
selection[["smiles", "seq_target_1", "seq_matrix_1", "seq_load", "target_enrichment"]].head()

# %% [markdown]
# **SMILES** is a way to write a molecule as text. `seq_target_1` to `_3` are three
# *replicates*: the washing was done three times. So are the columns `seq_matrix`.
#
# ### Exercise 00.1: read the counts
# **Goal:** see how thin the evidence is. Find `share_unseen`, the share of molecules without a single
# read on the target in all three replicates together, and `median_load`, the median of `seq_load`.

# %% coursekit="wrong 00.1"
# gets: that is a percentage
share_unseen = 100 * (selection[[f"seq_target_{i}" for i in (1, 2, 3)]].sum(axis=1) == 0).mean()
median_load = selection["seq_load"].median()
ck.check("00.1", share_unseen, median_load, selection)

# %% coursekit="wrong 00.1"
# gets: first replicate alone
share_unseen = (selection["seq_target_1"] == 0).mean()
ck.check("00.1", share_unseen, median_load, selection)

# %% coursekit="wrong 00.1"
# gets: median of the column seq_load
share_unseen = (selection[[f"seq_target_{i}" for i in (1, 2, 3)]].sum(axis=1) == 0).mean()
median_load = selection["seq_load"].mean()
ck.check("00.1", share_unseen, median_load, selection)

# %% coursekit="wrong 00.1"
# gets: load it again
ck.check("00.1", share_unseen, median_load, selection.head(100))

# %% coursekit="answer 00.1"
# 00.1 Read the counts
share_unseen = ...
median_load = ...
### BEGIN SOLUTION
target_reads = selection[["seq_target_1", "seq_target_2", "seq_target_3"]].sum(axis=1)
share_unseen = (target_reads == 0).mean()
median_load = selection["seq_load"].median()
### END SOLUTION

# %% coursekit="check 00.1"
ck.check("00.1", share_unseen, median_load, selection)

# %% [markdown] coursekit="hint 00.1"
# `selection[["seq_target_1", …]].sum(axis=1)` adds the replicates of each row.

# %% [markdown] coursekit="hint 00.1"
# Comparing a column with 0 gives True and False; their mean is a share.

# %% [markdown] coursekit="success 00.1"
# - I know which share of the molecules left no read on the target.
# - I can say what the load tells that the reads on the target do not.
#
# "Why does a selection have replicates, and what would one replicate more change?"

# %% [markdown]
# ## From reads to enrichment
# Ten reads on the target and none on the matrix: is that a binder? A
# count *k* comes from a rate that we never see. If reads come independently of each other, counts
# follow **Poisson** statistics (Kuai et al. 2018, doi 10.1177/2472555218757718), and that rate lies, with 95% confidence, between `chi2.ppf(0.025, 2 * k) / 2`
# and `chi2.ppf(0.975, 2 * (k + 1)) / 2`, where `chi2.ppf` (SciPy) gives the point below which that
# share of a chi-square distribution lies. KinDEL's **enrichment** is cautious on both sides: the
# *lower* bound for the target divided by the *upper* bound for the matrix.

# %%
from coursekit.evaluation.figures import reads_figure

reads_figure(selection)

# %% [markdown]
# On the left, most molecules have few reads or none. The second hump is there on purpose: as in
# KinDEL's published file, about half of the rows are the library's most enriched. On the right,
# the dashed line is where enrichment reaches 1: it starts well above zero, since one lucky read proves nothing, and it rises with the
# reads on the matrix.
#
# ### Exercise 00.2: enrichment by hand
# **Goal:** know what the column `target_enrichment` holds. Write `my_enrichment` for two counts. What
# should it give when the target was never read? (`chi2.ppf` gives `nan` there.)


# %% coursekit="wrong 00.2"
# gets: plain ratio of the counts
def my_enrichment(k_target, k_matrix):
    return k_target / k_matrix if k_matrix else 0.0


ck.check("00.2", my_enrichment)


# %% coursekit="wrong 00.2"
# gets: without a read on the target
from scipy.stats import chi2


def my_enrichment(k_target, k_matrix):
    lower = chi2.ppf(0.025, 2 * max(k_target, 1)) / 2
    return lower / (chi2.ppf(0.975, 2 * (k_matrix + 1)) / 2)


ck.check("00.2", my_enrichment)


# %% coursekit="wrong 00.2"
# gets: its lower bound belongs above
def my_enrichment(k_target, k_matrix):
    return k_target / (chi2.ppf(0.975, 2 * (k_matrix + 1)) / 2)


ck.check("00.2", my_enrichment)


# %% coursekit="wrong 00.2"
# gets: ZeroDivisionError
def my_enrichment(k_target, k_matrix):
    return k_target / k_matrix


ck.check("00.2", my_enrichment)

# %% coursekit="answer 00.2"
# 00.2 Enrichment by hand
from scipy.stats import chi2


def my_enrichment(k_target, k_matrix):
    ### BEGIN SOLUTION
    if k_target == 0:
        return 0.0
    lower = chi2.ppf(0.025, 2 * k_target) / 2
    upper = chi2.ppf(0.975, 2 * (k_matrix + 1)) / 2
    return lower / upper
    ### END SOLUTION


# %% coursekit="check 00.2"
ck.check("00.2", my_enrichment)

# %% [markdown] coursekit="hint 00.2"
# Two lines and a division: the lower bound of `k_target`, the upper bound of `k_matrix`.

# %% [markdown] coursekit="hint 00.2"
# Nothing read on the target means a lower bound of 0: return 0.0 before you divide.

# %% [markdown] coursekit="success 00.2"
# - I can say why a lower bound is divided by an upper bound.
# - I can say what 0 reads on the target give, and why.
#
# "What is the difference between a confidence interval for a rate and one for a ratio of rates?"

# %% [markdown]
# ## Zero is not proof
# A molecule without reads may bind and yet have been missed, because it was rare in the tube or never
# made. If *m* reads are expected, the chance of none is exp(-*m*), by Poisson again. So a zero is
# strong evidence where the load is high, and hardly any where it is low.
#
# ### Exercise 00.3: how many binders are silent?
# **Goal:** put a number on that. For the molecules with an enrichment of 1 or more, divide all their
# target reads by all their loads: `reads_per_load`. Then find `p_silent`, the chance that such a
# molecule with a load of 4 leaves no read on the target. (Picked for many reads,
# these molecules understate the chance of silence.)

# %% coursekit="wrong 00.3"
# gets: chance to be seen at least once
import numpy as np

binders = selection[selection["target_enrichment"] >= 1]
reads = binders[["seq_target_1", "seq_target_2", "seq_target_3"]].to_numpy().sum()
reads_per_load = reads / binders["seq_load"].sum()
p_silent = 1 - np.exp(-4 * reads_per_load)
ck.check("00.3", reads_per_load, p_silent)

# %% coursekit="wrong 00.3"
# gets: for a load of 1
p_silent = np.exp(-reads_per_load)
ck.check("00.3", reads_per_load, p_silent)

# %% coursekit="answer 00.3"
# 00.3 Zero is not proof
import numpy as np

reads_per_load = ...
p_silent = ...
### BEGIN SOLUTION
binders = selection[selection["target_enrichment"] >= 1]
reads = binders[["seq_target_1", "seq_target_2", "seq_target_3"]].to_numpy().sum()
reads_per_load = reads / binders["seq_load"].sum()
p_silent = np.exp(-4 * reads_per_load)
### END SOLUTION

# %% coursekit="check 00.3"
ck.check("00.3", reads_per_load, p_silent)

# %% [markdown] coursekit="hint 00.3"
# Filter first: `selection[selection["target_enrichment"] >= 1]`. Sum over rows and columns.

# %% [markdown] coursekit="hint 00.3"
# Expected are `4 * reads_per_load` reads; `np.exp` of minus that is the chance of none.

# %% [markdown] coursekit="success 00.3"
# - I can say what a zero proves at a load of 4, and at a load of 40.
# - I know why the share that I found is too low.
#
# "Why do sequencing counts vary more than Poisson statistics allow?"

# %% [markdown]
# ## Easy and hard negatives
# A classifier learns from binders and from molecules that are none. Which ones? An **easy negative**
# shares no pair of building blocks (no *disynthon*) with any binder and was hardly read. A **hard
# negative** shares a pair with a binder, or looks like one, and yet was hardly read although its load
# is high; or it sticks to the empty matrix. Telling easy negatives from binders is recognizing a
# family; telling hard ones is chemistry. The two are scored apart, with equally many of each, so
# that scores can be compared.

# %%
task = ck.load_task(env.task)
task

# %%
negatives = ck.negatives_explorer(task, selection)
negatives.kind = "disynthon"
negatives

# %% [markdown]
# The **negatives explorer** shows a hard negative beside the binder that it resembles most, with rings
# around atoms that differ, and the reads of both. In this pair only one atom points the other way.
# Step on with *Next*, or choose another *Kind*: an easy negative's nearest binder is far.
#
# ### Exercise 00.4: similarity
# **Goal:** know what "similarity 0.7" means. A **fingerprint** is a list of bits, each for a small
# piece of structure: 1 if the molecule has it. Write **Tanimoto**'s similarity of two such arrays:
# bits that both have, divided by bits that at least one has.


# %% coursekit="wrong 00.4"
# gets: 0 in both as shared
def tanimoto(a, b):
    return (a == b).mean()


ck.check("00.4", tanimoto)


# %% coursekit="wrong 00.4"
# gets: Dice's coefficient
def tanimoto(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


ck.check("00.4", tanimoto)


# %% coursekit="answer 00.4"
# 00.4 Tanimoto similarity
def tanimoto(a, b):
    ### BEGIN SOLUTION
    both = (a & b).sum()
    either = (a | b).sum()
    return both / either
    ### END SOLUTION


# %% coursekit="check 00.4"
ck.check("00.4", tanimoto)

# %% [markdown] coursekit="hint 00.4"
# For arrays of 0 and 1, `a & b` is 1 where both are.

# %% [markdown] coursekit="hint 00.4"
# `(a & b).sum() / (a | b).sum()`.

# %% [markdown] coursekit="success 00.4"
# - I can work out the similarity of two short lists of bits by hand.
# - I have seen a hard negative beside its nearest binder.
#
# "Which two molecules have the same Morgan fingerprint although they differ?"

# %% [markdown]
# ## A baseline nobody may skip
# Morgan fingerprints (Rogers and Hahn 2010, doi 10.1021/ci100050t) with logistic regression and a
# random forest take seconds, and learned representations often do no better (Deng et al. 2023,
# doi 10.1038/s41467-023-41948-6). Scores are **AUROC**, the chance that a binder is ranked above a
# negative (guessing: 0.5), and **AU-PRC**: **precision**, the share of binders among what is called one,
# averaged over all thresholds (guessing: the share of binders). In brackets are 95% **intervals**: where a
# score might fall with other test molecules.
#
# ### Exercise 00.5: two baselines
# **Goal:** the numbers to beat. Fit `ck.fingerprint_baseline(task, …)` as `"logistic"` and as
# `"forest"`, and compare the two with `ck.compare({"logistic": …, "forest": …})`. Which negatives are
# harder for both? By how much?

# %% coursekit="wrong 00.5"
# gets: `ck.fingerprint_baseline(task, "forest")` is wanted
logistic = ck.fingerprint_baseline(task, "logistic")
ck.check("00.5", logistic, logistic, ck.compare({"logistic": logistic}))

# %% coursekit="answer 00.5"
# 00.5 Two baselines
logistic = ...
forest = ...
baselines = ...
### BEGIN SOLUTION
logistic = ck.fingerprint_baseline(task, "logistic")
forest = ck.fingerprint_baseline(task, "forest")
baselines = ck.compare({"logistic": logistic, "forest": forest})
### END SOLUTION
baselines

# %% coursekit="check 00.5"
ck.check("00.5", logistic, forest, baselines)

# %% [markdown] coursekit="hint 00.5"
# Each baseline is one call that returns a run; `ck.compare` takes a dict of runs.

# %% [markdown] coursekit="hint 00.5"
# `logistic = ck.fingerprint_baseline(task, "logistic")`, and `"forest"` likewise.

# %% [markdown] coursekit="success 00.5"
# - I know the number to beat on hard negatives.
# - I can say whether the order of the two models may be chance.
#
# "Why might a random forest on fingerprints beat a neural network on a few thousand molecules?"

# %% [markdown]
# Read it by columns: both models lose on hard negatives, where fingerprints of the two classes
# overlap. Intervals that overlap widely say that the order of the two models may be chance.
#
# ## Reflection
# ### Exercise 00.6
# A colleague trains on all molecules without reads as negatives. In three or four sentences: what goes
# wrong, for the training and for the score, and what would you ask for instead? A person reads this.

# %% coursekit="answer 00.6"
# 00.6 What a negative is
reflection_00 = ...
### BEGIN SOLUTION
reflection_00 = """
A molecule without reads may simply have been rare in the tube or never made, so some true binders
would be labeled negative: the model is taught wrong, and a good model is marked down for ranking
them high. Most such molecules also look like no binder, so the score would mostly reward the easy
task. I would ask for a load high enough that reads were to be expected, and score easy and hard
negatives apart.
"""
### END SOLUTION

# %% coursekit="check 00.6"
ck.check("00.6", reflection_00)

# %% [markdown] coursekit="hint 00.6"
# What does exercise 00.3 say about a zero at low load?

# %% [markdown] coursekit="hint 00.6"
# Think of both uses of a label: to learn from, and to be judged by.

# %% [markdown] coursekit="rubric 00.6"
# One point each: (1) zeros include binders that were rare or never made; (2) the harm to the score is
# named as well as the harm to the training; (3) a remedy that uses the load, or scores easy and hard
# apart.

# %% [markdown] coursekit="success 00.6"
# - I name what goes wrong for the training and for the score.
# - I ask for something that can be had from this table.
#
# "How do published models on DNA-encoded libraries choose their negatives?" Look whether its
# sources say so.

# %% [markdown]
# ## Before you hand in
# Could you say each sentence of the success lists to a colleague? Ask your assistant what the checks
# suggest, and hold one claim of each answer against a source or your own numbers.
#
# **To go further:** `coursekit data simulate --seed 7 --out another` makes another screen. How much do
# the baselines change? Next: lesson 01, a molecular transformer.

# %%
ck.handin()
