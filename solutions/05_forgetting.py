# ---
# jupyter:
#   coursekit:
#     minutes: {quick: 1, cpu: 4, t4: 3, full: 3}
#     exercises: {"05.1": [10, 0.6, 0.1], "05.2": [10], "05.3": [10, 3, 1], "05.4": [10], "05.5": [10, 0.3, 0.3], "05.6": [10]}
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 Forgetting, and how to hold it
#
# **Why this lesson.** Every step that teaches an encoder which molecules bind may overwrite what it
# knew of molecules in general. No score on the task shows that. It shows when the encoder is needed
# again: for the next target, or for molecules unlike those of this one.
#
# **After it you can** measure what fine-tuning makes an encoder forget, write the L2-SP penalty and
# its gradient by hand, compare L2-SP, EWC, replay and LoRA fairly, read the trade-off between
# learning and keeping, and choose a strategy within a budget, knowing what the choice rests on.
#
# **Needed before:** lesson 02. **Time:** 60 minutes, of which the computer works for about four on
# two processor cores (measured) and three on a T4 (an estimate). **Hand in:** this notebook,
# saved after its last cell.

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

env = ck.setup(lesson="05", made_with=ck.__version__)

# %% [markdown]
# A part of the sample is enough here, and on a processor only that is trained on. With
# `task="mapk14"` in `ck.setup`, after `coursekit data fetch mapk14`, the molecules are KinDEL's.

# %%
from coursekit.models.pretraining_molecules import heldout_molecules

task = ck.load_task(env.task).share(env.pick(quick=0.05, cpu=0.5, t4=1.0))
epochs = env.pick(quick=2, cpu=4)
heldout = heldout_molecules(200)
print(len(task.train), "molecules to learn from; of the pretraining, for example,", heldout[0])

# %% [markdown]
# ## What is forgotten
# **Catastrophic forgetting** is that a network which learns a second task loses the first, because
# both are held by the same weights (McCloskey and Cohen 1989, doi 10.1016/S0079-7421(08)60536-8). Our
# encoder's first task was to guess hidden tokens. So we ask it again, with the head it had then, on
# molecules that its pretraining never saw: `ck.masked_token_loss(model, heldout)` gives the mean loss
# for a hidden token in **nats** (a loss of 0.7 nats is a coin toss between two tokens), and the share
# guessed right. Nothing is trained by that.
#
# For ChemBERTa, `encoder="DeepChem/ChemBERTa-77M-MLM"` in `ck.setup`, give as `heldout` molecules of the
# kind that it was pretrained on, drug-like ones from PubChem; ours are of this course's library.
#
# ### Exercise 05.1: before and after
# **Goal:** see it happen. Load a classifier (`env.encoder`, mean pooling); measure its masked-token
# loss on `heldout` as `before`; fit `ck.FullFinetune(lr=1e-3)` on `task` for `epochs` as `plain`,
# with `heldout=heldout` and, so that a run which is cut off goes on, `checkpoint_dir=env.folder("plain")`;
# measure again as `after`. What would `after` be if the encoder were frozen?

# %% coursekit="wrong 05.1"
# gets: here all weights train
tiny = task.share(0.1)
wrong_model = ck.load_classifier(env.encoder, pooling="mean")
frozen = ck.HeadOnlyFinetune().fit(wrong_model, tiny, epochs=1, heldout=heldout)
told = frozen.forgetting
ck.check("05.1", told["loss_before"], told["loss_after"], frozen)

# %% coursekit="wrong 05.1"
# gets: measure before you call it
moved = ck.FullFinetune(lr=1e-3).fit(wrong_model, tiny, epochs=3, heldout=heldout)
told = moved.forgetting
ck.check("05.1", told["loss_after"], told["loss_after"], moved)

# %% coursekit="wrong 05.1"
# gets: share of tokens guessed right
ck.check("05.1", told["accuracy_before"], told["accuracy_after"], moved)

# %% coursekit="wrong 05.1"
# gets: Measure the model that was trained
ck.check("05.1", told["loss_before"], told["loss_before"], moved)

# %% coursekit="wrong 05.1"
# gets: keep its loss
ck.check("05.1", {"loss": told["loss_before"]}, told["loss_after"], moved)

# %% coursekit="answer 05.1"
# 05.1 Before and after
before = ...
plain = ...
after = ...
### BEGIN SOLUTION
model = ck.load_classifier(env.encoder, pooling="mean")
before = ck.masked_token_loss(model, heldout)["loss"]
kept = env.folder("plain")
strategy = ck.FullFinetune(lr=1e-3)
plain = strategy.fit(model, task, epochs, checkpoint_dir=kept, heldout=heldout)
after = ck.masked_token_loss(model, heldout)["loss"]
### END SOLUTION

# %% coursekit="check 05.1"
ck.check("05.1", before, after, plain)

# %% [markdown] coursekit="hint 05.1"
# `fit` trains the model in place: the same variable, measured before and after it, gives both.

# %% [markdown] coursekit="hint 05.1"
# `ck.masked_token_loss(model, heldout)["loss"]`, `ck.FullFinetune(lr=1e-3).fit(model, task,
# epochs=epochs, heldout=heldout)`, and the first line again.

# %% [markdown] coursekit="success 05.1"
# - I know how much `plain` forgot, in nats.
# - I can say what a frozen encoder would have shown.
#
# "Why can a model forget a task without its score on the new one showing it?"

# %% [markdown]
# ## Held at a spring
# Weight decay pulls all weights toward zero. **L2-SP** pulls them toward their **s**tarting **p**oint
# *w₀*, the pretrained weights (Li, Grandvalet and Davoine 2018, arXiv 1802.01483): it adds to the loss
#
# strength / 2 · Σ (w − w₀)²
#
# like a spring at each weight. **EWC**, elastic weight consolidation (Kirkpatrick et al. 2017, doi
# 10.1073/pnas.1611835114), makes some springs stiffer: it multiplies each term with the **Fisher
# information** of that weight, the mean squared gradient of the pretraining task's log-likelihood,
# which says how much that task minds if the weight moves.
#
# ### Exercise 05.2: L2-SP by hand
# **Goal:** know what pulls. Write `penalty(w, start, strength)`, a number, and its derivative
# `gradient(w, start, strength)`, one number for each weight. `w` and `start` are PyTorch tensors. Which
# way does a step of gradient descent on it move the weights?


# %% coursekit="wrong 05.2"
# gets: pulls toward zero
def penalty(w, start, strength):
    return strength / 2 * (w**2).sum()


def gradient(w, start, strength):
    return strength * w


ck.check("05.2", penalty, gradient)


# %% coursekit="wrong 05.2"
# gets: leaves out the half
def penalty(w, start, strength):
    return strength * ((w - start) ** 2).sum()


ck.check("05.2", penalty, gradient)


# %% coursekit="wrong 05.2"
# gets: takes the mean over the weights
def penalty(w, start, strength):
    return strength / 2 * ((w - start) ** 2).mean()


ck.check("05.2", penalty, gradient)


# %% coursekit="wrong 05.2"
# gets: the derivative of your penalty is
def penalty(w, start, strength):
    return strength / 2 * ((w - start) ** 2).sum()


ck.check("05.2", penalty, gradient)


# %% coursekit="wrong 05.2"
# gets: has the wrong sign
def gradient(w, start, strength):
    return strength * (start - w)


ck.check("05.2", penalty, gradient)


# %% coursekit="wrong 05.2"
# gets: one number for each weight
def gradient(w, start, strength):
    return (strength * (w - start)).sum()


ck.check("05.2", penalty, gradient)


# %% coursekit="answer 05.2"
# 05.2 L2-SP by hand
def penalty(w, start, strength):
    ### BEGIN SOLUTION
    return strength / 2 * ((w - start) ** 2).sum()
    ### END SOLUTION


def gradient(w, start, strength):
    ### BEGIN SOLUTION
    return strength * (w - start)
    ### END SOLUTION


# %% coursekit="check 05.2"
ck.check("05.2", penalty, gradient)

# %% [markdown] coursekit="hint 05.2"
# The derivative of (w − w₀)² / 2 is w − w₀.

# %% [markdown] coursekit="hint 05.2"
# `strength / 2 * ((w - start) ** 2).sum()`; the gradient is not summed up.

# %% [markdown] coursekit="success 05.2"
# - I can say which way a step on the penalty moves a weight.
# - I can say how this differs from weight decay.
#
# "What does the Fisher information of one weight mean?"

# %% [markdown]
# The kit applies this pull after the optimizer's step, as AdamW applies its decay (Loshchilov and
# Hutter 2019, arXiv 1711.05101): a step takes `learning rate × strength` of the way back, a tenth at a
# rate of 1e-3 and a strength of 100.
#
# Two other ways. **Replay** (rehearsal: Robins 1995, doi 10.1080/09540099550039318) goes on with the
# pretraining: in each step some of its molecules, with masked tokens. **LoRA** (Hu et al. 2021, arXiv
# 2106.09685) leaves the weights as they are and learns a small correction beside each matrix; taken
# out again, nothing was ever forgotten, and left in, it counts as any other change.
#
# ### Exercise 05.3: four ways to hold it
# **Goal:** a fair comparison. Fit, each on a fresh classifier, on the same task and for as many epochs
# as `plain`, with a folder of its own: `l2sp` with `ck.L2SP(100)`, `ewc` with `ck.EWC(100, past)`, `replay` with
# `ck.Replay(molecules=past)` and `lora` with `ck.LoRAFinetune()`. Penalties go into `penalties=(…,)`.
# `past` says how many pretraining molecules are used; for another encoder give a list of SMILES.

# %% coursekit="wrong 05.3"
# gets: `ck.LoRAFinetune()` is wanted
past = 20
held = {}
for name, one in {"l2sp": ck.L2SP(100), "ewc": ck.EWC(100, past)}.items():
    fresh = ck.load_classifier(env.encoder, pooling="mean")
    strategy = ck.FullFinetune(lr=1e-3, penalties=(one,))
    held[name] = strategy.fit(fresh, tiny, epochs=1, heldout=heldout)
fresh = ck.load_classifier(env.encoder, pooling="mean")
strategy = ck.FullFinetune(lr=1e-3, penalties=(ck.Replay(molecules=past),))
held["replay"] = strategy.fit(fresh, tiny, epochs=1, heldout=heldout)
ck.check("05.3", plain, *held.values(), plain)

# %% coursekit="wrong 05.3"
# gets: fitted on different tasks
fresh = ck.load_classifier(env.encoder, pooling="mean")
adapters = ck.LoRAFinetune().fit(fresh, tiny, epochs=1, heldout=heldout)
ck.check("05.3", plain, *held.values(), adapters)

# %% coursekit="wrong 05.3"
# gets: whoever trains less also forgets less
ck.check("05.3", moved, *held.values(), adapters)

# %% coursekit="wrong 05.3"
# gets: Load the classifier anew
again = ck.FullFinetune(lr=1e-3).fit(wrong_model, tiny, epochs=1, heldout=heldout)
ck.check("05.3", again, *held.values(), adapters)

# %% coursekit="answer 05.3"
# 05.3 Four ways to hold it
l2sp = ...
ewc = ...
replay = ...
lora = ...
past = env.pick(quick=50, cpu=300)
### BEGIN SOLUTION
ways = [ck.L2SP(100), ck.EWC(100, past), ck.Replay(molecules=past)]
strategies = [ck.FullFinetune(lr=1e-3, penalties=(way,)) for way in ways]
found = []
for number, strategy in enumerate([*strategies, ck.LoRAFinetune()]):
    fresh, kept = ck.load_classifier(env.encoder, pooling="mean"), env.folder(f"held-{number}")
    found.append(strategy.fit(fresh, task, epochs, checkpoint_dir=kept, heldout=heldout))
l2sp, ewc, replay, lora = found
### END SOLUTION

# %% coursekit="check 05.3"
ck.check("05.3", plain, l2sp, ewc, replay, lora)

# %% [markdown] coursekit="hint 05.3"
# `ck.FullFinetune(lr=1e-3, penalties=(ck.L2SP(100),))`: the comma makes it a tuple. LoRA is a strategy
# of its own, without penalties.

# %% [markdown] coursekit="hint 05.3"
# Load a classifier inside the loop over strategies, and give `fit` the same `task`, `epochs` and
# `heldout` each time.

# %% [markdown] coursekit="success 05.3"
# - All five runs had the same molecules and epochs.
# - I can say why EWC's springs are not all alike.
#
# "Why does replay often beat EWC, and when can it not be used?" Ask for a source, and look whether
# it says so.

# %% [markdown]
# ## The trade-off
# No single number says who won. Each run is a point: to the left, little was forgotten; to the top, much
# was learned.

# %%
runs = {"plain": plain, "L2-SP": l2sp, "EWC": ewc, "replay": replay, "LoRA": lora}
if any(run is ... for run in runs.values()):  # until all are there, the course's own
    runs = {name: ck.bundled_run(name) for name in runs}
ck.forgetting_tradeoff(runs)

# %% [markdown]
# The dashed line is the loss before training, and the bars are 95% intervals from resampled molecules:
# where they overlap far, nothing is decided. In this kit's benchmark (480 molecules, three epochs, three
# seeds, a processor) the loss rose from 0.080 to 0.736 with nothing to hold it, to 0.268 with L2-SP and to
# 0.214 with EWC, both at 100, to 0.244 with LoRA and to 0.111 with replay, while easy AUROC stayed between
# 0.700 and 0.731 for all five. Replay at a weight of 1, ten times as much, kept 0.097, and learned
# little: easy AUROC 0.567. **Holding costs little until it costs everything.** Where is your own picture
# unlike that?
#
# ### Exercise 05.4: which are worth having
# **Goal:** read such a picture by rule. Write `worth_having(forgotten, auroc)`: for two lists of equal
# length, the positions of the approaches that no other one beats. One **beats** another if it is at
# least as good on both counts and better on one. (What is left is called the Pareto front.)


# %% coursekit="wrong 05.4"
# gets: keeps a single approach
def worth_having(forgotten, auroc):
    return [max(range(len(auroc)), key=lambda i: auroc[i])]


ck.check("05.4", worth_having)


# %% coursekit="wrong 05.4"
# gets: drops two approaches that are exactly alike
def worth_having(forgotten, auroc):
    points = list(zip(forgotten, auroc, strict=True))
    beaten = [
        any(f <= g and a >= b for j, (f, a) in enumerate(points) if j != i)
        for i, (g, b) in enumerate(points)
    ]
    return [i for i, lost in enumerate(beaten) if not lost]


ck.check("05.4", worth_having)


# %% coursekit="wrong 05.4"
# gets: matched on one count and beaten on the other
def worth_having(forgotten, auroc):
    points = list(zip(forgotten, auroc, strict=True))
    return [i for i, (g, b) in enumerate(points) if not any(f < g and a > b for f, a in points)]


ck.check("05.4", worth_having)


# %% coursekit="wrong 05.4"
# gets: keeps every approach
def worth_having(forgotten, auroc):
    return list(range(len(auroc)))


ck.check("05.4", worth_having)


# %% coursekit="wrong 05.4"
# gets: Less forgotten is better
def worth_having(forgotten, auroc):
    points = list(zip(forgotten, auroc, strict=True))
    return [
        i
        for i, (g, b) in enumerate(points)
        if not any(f >= g and a >= b and (f, a) != (g, b) for f, a in points)
    ]


ck.check("05.4", worth_having)


# %% coursekit="wrong 05.4"
# gets: a list of their positions
def worth_having(forgotten, auroc):
    return [f < 0.2 and a > 0.7 for f, a in zip(forgotten, auroc, strict=True)]


ck.check("05.4", worth_having)


# %% coursekit="answer 05.4"
# 05.4 Which are worth having
def worth_having(forgotten, auroc):
    ### BEGIN SOLUTION
    points = list(zip(forgotten, auroc, strict=True))

    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    return [i for i, one in enumerate(points) if not any(beats(p, one) for p in points)]
    ### END SOLUTION


# %% coursekit="check 05.4"
ck.check("05.4", worth_having)

# %% [markdown] coursekit="hint 05.4"
# Compare each approach with every other one: `f <= g and a >= b`, and not equal on both.

# %% [markdown] coursekit="hint 05.4"
# `points = list(zip(forgotten, auroc, strict=True))`; keep position i if `any(...)` over all points that beat
# `points[i]` is false. Points that are the same do not beat each other.

# %% [markdown] coursekit="success 05.4"
# - I can name an approach that another one beats, or say why there is none.
# - My function keeps both of two that are alike.
#
# "When is a Pareto front more honest than a weighted sum of two goals?"

# %% [markdown]
# ## Choosing within a budget
# Which strategy at all, before any penalty? That hangs on how many molecules there are, how close they
# are to the pretraining, and how much time there is. `ck.recommend` measures the second and the cost
# on this device, and looks the rest up in a benchmark of this kit.
#
# ### Exercise 05.5: choose
# **Goal:** choose, then question the choice. Write `pick(minutes, scores, budget)`: of two dicts by
# strategy, the name with the highest score whose minutes are within the budget, or None. Then put
# `ck.recommend(task, env.encoder, budget=5)` into `advice`, and read all of it.


# %% coursekit="wrong 05.5"
# gets: which takes 6
def pick(minutes, scores, budget):
    return max(scores, key=scores.get)


ck.check("05.5", pick, "full")


# %% coursekit="wrong 05.5"
# gets: fits too, and scores higher
def pick(minutes, scores, budget):
    return min(minutes, key=minutes.get)


ck.check("05.5", pick, "full")


# %% coursekit="wrong 05.5"
# gets: None is the honest answer
def pick(minutes, scores, budget):
    fitting = [name for name in minutes if minutes[name] <= budget]
    return max(fitting or ["frozen"], key=scores.get)


ck.check("05.5", pick, "full")


# %% coursekit="wrong 05.5"
# gets: is no recommendation
def pick(minutes, scores, budget):
    fitting = [name for name in minutes if minutes[name] <= budget]
    return max(fitting, key=scores.get) if fitting else None


ck.check("05.5", pick, "full")

# %% coursekit="answer 05.5"
# 05.5 Choose within a budget
advice = ...
### BEGIN SOLUTION
advice = ck.recommend(task, env.encoder, budget=5)
### END SOLUTION


def pick(minutes, scores, budget):
    ### BEGIN SOLUTION
    fitting = [name for name in minutes if minutes[name] <= budget]
    return max(fitting, key=scores.get) if fitting else None
    ### END SOLUTION


advice

# %% coursekit="check 05.5"
ck.check("05.5", pick, advice)

# %% [markdown] coursekit="hint 05.5"
# First the names that fit; of these the one with the highest score: `max(names, key=scores.get)`.

# %% [markdown] coursekit="hint 05.5"
# `fitting = [name for name in minutes if minutes[name] <= budget]`; where it is empty, return None.

# %% [markdown] coursekit="success 05.5"
# - I can say which parts of the advice were measured here.
# - I can say what my choice does when nothing fits.
#
# "How would you test a recommendation that rests on one benchmark?"

# %% [markdown]
# ## Reflection
# ### Exercise 05.6
# Two short answers. `worth_holding`: on your numbers, was it worth holding the encoder, and when would
# your answer be another one? `my_criticism`: `ck.recommend` chose; what does its choice rest on, what
# does it leave out, and with which experiment would you test it? A person reads both.

# %% coursekit="answer 05.6"
# 05.6 Is it worth holding
worth_holding = ...
my_criticism = ...
### BEGIN SOLUTION
worth_holding = """
For this task alone, no: nobody asks the encoder for masked tokens again, and the score on hard
negatives is what counts. It would be worth it if the same encoder had to serve the next target as
well, or if the molecules to be scored later were unlike the training set, since what was forgotten
is what would help there. Then I would take what lies on the front, not the row with the least loss.
"""
my_criticism = """
It rests on one benchmark: one encoder, one simulated library, few sizes and seeds, hard AUROC alone.
It leaves out penalties, other learning rates and the next task. I would train its choice and its
runner-up on my task, three seeds each in equal time, and see whether the order holds.
"""
### END SOLUTION

# %% coursekit="check 05.6"
ck.check("05.6", worth_holding, my_criticism)

# %% [markdown] coursekit="hint 05.6"
# Who will use this encoder after you, and for what? That decides whether what was lost matters.

# %% [markdown] coursekit="hint 05.6"
# Read the last part of the recommendation, what it does not know, and turn one line into an experiment.

# %% [markdown] coursekit="rubric 05.6"
# Two points for each. *worth_holding*: uses own numbers of both axes, and names a case in which
# forgetting matters (another task, molecules far from the training set) or says why it does not here.
# *my_criticism*: names what the choice rests on (a benchmark with one encoder and one sample, its size,
# its score), at least one thing left out, and an experiment that could prove the choice wrong, with
# several seeds or an interval.

# %% [markdown] coursekit="success 05.6"
# - I use my own numbers of both axes.
# - My experiment could prove the choice wrong.
#
# "For which later uses of an encoder does forgetting matter, and for which not?"

# %% [markdown]
# ## Before you hand in
# Could you say each sentence of the success lists to a colleague? Ask your assistant what the checks
# suggest, and hold one claim of each answer against a source or your own numbers.
#
# **To go further:** other strengths. Draw one line through all of L2-SP's points, one through replay's:
# does one lie above the other everywhere? Next: lesson 06, where molecules are compared with each other.

# %%
ck.handin()
