# ---
# jupyter:
#   coursekit:
#     minutes: {quick: 1, cpu: 2, t4: 4, full: 4}
#     exercises: {"06.1": [10], "06.2": [10], "06.3": [15], "06.4": [10, 1, 1.5], "06.5": [10, 0.6, 2], "06.6": [10]}
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 Contrastive learning
#
# **Why this lesson.** So far a loss asked of each molecule alone: binder or not? A **contrastive** loss
# asks of pairs: do these two belong together? It moves binders toward each other and everything else
# away, most of all what lies among them: the hard negatives. Does that help where fine-tuning struggled?
#
# **After it you can** measure whether an encoder keeps binders together, compute the supervised
# contrastive loss by hand and in PyTorch, say whom it pushes hardest, train with it, and judge by one
# table whether it paid.
#
# **Needed before:** lessons 01 and 02. **Time:** 60 to 75 minutes, of which the computer works for about
# two on two processor cores (measured) and four on a T4, where the whole task is used (an estimate).
# **Hand in:** this notebook, saved after its last cell.

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

env = ck.setup(lesson="06", made_with=ck.__version__)

# %%
task = ck.load_task(env.task).share(env.pick(quick=0.05, cpu=0.25, t4=1))
model = ck.load_classifier(env.encoder, pooling="mean")
before = model.embed(list(task.test["smiles"]))
task

# %% [markdown]
# ## Who lives next door?
# An encoder gives each molecule a vector, its **embedding**. Two embeddings are near if they point the
# same way: if their **cosine**, the product of the two after each is divided by its length, is large. A
# good encoder has binders beside binders. **Neighbor purity** puts a number on that: of the *k* nearest
# neighbors of a binder, which share are binders? Where nearness says nothing, it is about the share of
# binders among all.
#
# ### Exercise 06.1: who are a binder's neighbors?
# **Goal:** a number for a picture. Write `purity(vectors, binder, k)`: `vectors` is a NumPy array
# (molecules, width), `binder` an array of True and False. A molecule is not its own neighbor. Average over
# binders.

# %% coursekit="wrong 06.1"
# gets: nothing is nearer than itself
import numpy as np


def purity(vectors, binder, k):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return binder[np.argsort(-unit @ unit.T, axis=1)[:, :k]][binder].mean()


ck.check("06.1", purity)


# %% coursekit="wrong 06.1"
# gets: takes the product of vectors of unequal length
def purity(vectors, binder, k):
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    return binder[np.argsort(-near, axis=1)[:, :k]][binder].mean()


ck.check("06.1", purity)


# %% coursekit="wrong 06.1"
# gets: averages over all molecules
def purity(vectors, binder, k):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    return (binder[np.argsort(-near, axis=1)[:, :k]] == binder[:, None]).mean()


ck.check("06.1", purity)


# %% coursekit="wrong 06.1"
# gets: ranks by distance
def purity(vectors, binder, k):
    far = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(far, np.inf)
    return binder[np.argsort(far, axis=1)[:, :k]][binder].mean()


ck.check("06.1", purity)


# %% coursekit="wrong 06.1"
# gets: the share that are *no* binders
def purity(vectors, binder, k):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    return 1 - binder[np.argsort(-near, axis=1)[:, :k]][binder].mean()


ck.check("06.1", purity)

# %% coursekit="answer 06.1"
# 06.1 Who are a binder's neighbors?
import numpy as np


def purity(vectors, binder, k):
    ### BEGIN SOLUTION
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T  # (N, N) cosines
    np.fill_diagonal(near, -np.inf)  # nobody is their own neighbor
    nearest = np.argsort(-near, axis=1)[:, :k]  # (N, k) positions
    return binder[nearest][binder].mean()
    ### END SOLUTION


# %% coursekit="check 06.1"
ck.check("06.1", purity)

# %% [markdown] coursekit="hint 06.1"
# Divide each row by its length; then `unit @ unit.T` holds all cosines. Put -infinity on its diagonal.

# %% [markdown] coursekit="hint 06.1"
# `np.argsort(-near, axis=1)[:, :k]` has each row's neighbors; `binder[that][binder]` keeps binders' rows.

# %% [markdown] coursekit="success 06.1"
# - I can say why a molecule is not its own neighbor.
# - I can say which purity means that nearness says nothing.
#
# "When do cosine and distance give other neighbors?"

# %% [markdown]
# ## Pull and push
# The **supervised contrastive loss** (Khosla et al. 2020, arXiv 2004.11362, equation 2) takes a molecule
# as **anchor** and asks: if I drew one of the others, the likelier the nearer it is, would I draw one of
# my own kind? The likelihoods are a **softmax**, exponentials divided by their sum, over cosines divided
# by a **temperature**; the loss is minus
# the log of the share of each partner, averaged over partners, then over anchors. Here only binders are
# anchors: what does not bind has nothing in common that could be pulled together.
#
# ### Exercise 06.2: the loss by hand
# **Goal:** do one batch yourself, with temperature 0.2. All four vectors have length 1:
#
# | | kind | vector |
# |---|---|---|
# | a | binder | (1, 0) |
# | b | binder | (0.8, 0.6) |
# | h | hard negative | (0.96, -0.28) |
# | e | easy negative | (-0.6, 0.8) |
#
# Anchor a has cosines 0.8, 0.96 and -0.6 with b, h and e. Find `share_b` and `share_h`, the shares of b
# and h in its softmax, and `loss`, the mean over both anchors, with a calculator or NumPy.

# %% coursekit="wrong 06.2"
# gets: the anchor itself is in your sum
pull = np.exp(np.array([0.8, 0.96, -0.6]) / 0.2)
ck.check("06.2", pull[0] / (pull.sum() + np.exp(1 / 0.2)), pull[1] / pull.sum(), 0.75)

# %% coursekit="wrong 06.2"
# gets: only negatives are in your sum
ck.check("06.2", pull[0] / pull[1:].sum(), pull[1] / pull.sum(), 0.75)

# %% coursekit="wrong 06.2"
# gets: divide the similarities by the temperature first
warm = np.exp(np.array([0.8, 0.96, -0.6]))
ck.check("06.2", warm[0] / warm.sum(), warm[1] / warm.sum(), 0.75)

# %% coursekit="wrong 06.2"
# gets: that is for anchor a alone
share_b, share_h = pull[:2] / pull.sum()
ck.check("06.2", share_b, share_h, -np.log(share_b))

# %% coursekit="wrong 06.2"
# gets: the loss is minus the logarithm
ck.check("06.2", share_b, share_h, -0.7489)

# %% coursekit="answer 06.2"
# 06.2 The loss by hand
share_b = ...
share_h = ...
loss = ...
### BEGIN SOLUTION
points = np.array([[1, 0], [0.8, 0.6], [0.96, -0.28], [-0.6, 0.8]])
pull = np.exp(points @ points.T / 0.2)
np.fill_diagonal(pull, 0)  # the anchor is not drawn
shares = pull / pull.sum(axis=1, keepdims=True)
share_b, share_h = shares[0, 1], shares[0, 2]
loss = -(np.log(shares[0, 1]) + np.log(shares[1, 0])) / 2
### END SOLUTION

# %% coursekit="check 06.2"
ck.check("06.2", share_b, share_h, loss)

# %% [markdown] coursekit="hint 06.2"
# exp(0.8 / 0.2) is 54.6 and exp(0.96 / 0.2) is 121.5. The anchor itself is not in the sum.

# %% [markdown] coursekit="hint 06.2"
# For anchor b the cosines with a, h and e are 0.8, 0.6 and 0. The loss is the mean of two -log(share).

# %% [markdown] coursekit="success 06.2"
# - I can say who is in the sum below the fraction line, and who is not.
# - I can say what a lower temperature does to the shares.
#
# "What do alignment and uniformity (Wang and Isola 2020, arXiv 2005.10242) say about a contrastive
# loss?"

# %% [markdown]
# ### Exercise 06.3: the loss in PyTorch
# **Goal:** the same for any batch, so that it can train. Write `my_contrast(vectors, binder, temperature)`
# for tensors: `vectors` (molecules, width) of length 1, `binder` of True and False. It returns one number.

# %% coursekit="wrong 06.3"
# gets: has the anchor itself in the sum
import torch


def my_contrast(vectors, binder, temperature):
    log_share = (vectors @ vectors.T / temperature).log_softmax(dim=1)
    pairs = (binder[:, None] & binder[None, :]).fill_diagonal_(False)
    return -(log_share * pairs).sum(dim=1)[binder].mean() / (binder.sum() - 1)


ck.check("06.3", my_contrast)


# %% coursekit="wrong 06.3"
# gets: Minus infinity times 0
def my_contrast(vectors, binder, temperature):
    similarity = (vectors @ vectors.T / temperature).fill_diagonal_(-torch.inf)
    pairs = (binder[:, None] & binder[None, :]).fill_diagonal_(False)
    return -(similarity.log_softmax(dim=1) * pairs).sum(dim=1)[binder].mean() / (binder.sum() - 1)


ck.check("06.3", my_contrast)


# %% coursekit="wrong 06.3"
# gets: sums over negatives alone
def my_contrast(vectors, binder, temperature):
    similarity = vectors @ vectors.T / temperature
    below = similarity[:, ~binder].logsumexp(dim=1, keepdim=True)
    pairs = (binder[:, None] & binder[None, :]).fill_diagonal_(False)
    return -((similarity - below) * pairs).sum(dim=1)[binder].mean() / (binder.sum() - 1)


ck.check("06.3", my_contrast)


# %% coursekit="wrong 06.3"
# gets: only binders are anchors
def my_contrast(vectors, binder, temperature):
    similarity = vectors @ vectors.T / temperature
    itself = torch.eye(len(vectors), dtype=torch.bool)
    below = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    same = (binder[:, None] == binder[None, :]) & ~itself
    return (-((similarity - below) * same).sum(dim=1) / same.sum(dim=1)).mean()


ck.check("06.3", my_contrast)


# %% coursekit="wrong 06.3"
# gets: averages before it takes the logarithm
def my_contrast(vectors, binder, temperature):
    pull = (vectors @ vectors.T / temperature).exp().fill_diagonal_(0)
    shares = pull[binder][:, binder].sum(dim=1) / (binder.sum() - 1) / pull.sum(dim=1)[binder]
    return -shares.log().mean()


ck.check("06.3", my_contrast)


# %% coursekit="answer 06.3"
# 06.3 The loss in PyTorch
import torch


def my_contrast(vectors, binder, temperature):
    ### BEGIN SOLUTION
    similarity = vectors @ vectors.T / temperature
    itself = torch.eye(len(vectors), dtype=torch.bool)
    below = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    pairs = binder[:, None] & binder[None, :] & ~itself
    return -((similarity - below) * pairs).sum(dim=1)[binder].mean() / (binder.sum() - 1)
    ### END SOLUTION


# %% coursekit="check 06.3"
ck.check("06.3", my_contrast)

# %% [markdown] coursekit="hint 06.3"
# The log of a softmax is the similarity minus the `logsumexp` of its row. Mask the diagonal there only.

# %% [markdown] coursekit="hint 06.3"
# `binder[:, None] & binder[None, :]` marks pairs of binders; take out the diagonal, sum by row, keep
# binders' rows, divide by how many partners each has, average.

# %% [markdown] coursekit="success 06.3"
# - My function gives the number of exercise 06.2.
# - I can say why the hard negative is pushed harder although nobody marked it.
#
# "Why is `logsumexp` safer than the logarithm of a sum of exponentials?"

# %%
from coursekit.evaluation.figures import pull_and_push

tiny = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.96, -0.28], [-0.6, 0.8]], requires_grad=True)
tried = my_contrast(tiny, torch.tensor([True, True, False, False]), 0.2)
if tried is not None:
    tried.backward()
names = ["binder a", "binder b", "hard negative h", "easy negative e"]
later = "The picture appears here after exercise 06.3."
pull_and_push(tiny.detach(), -tiny.grad, names) if tried is not None else later

# %% [markdown]
# The tiny batch on its circle, with an arrow for where one step takes each vector. The two binders move
# toward each other; the hard negative, beside a, is pushed away from both; the easy one hardly feels
# anything. Nobody told the loss which negative is hard: the softmax finds out. A lower temperature looks
# at the nearest ones still more.
#
# ## Train by contrast
# `ck.ContrastiveFinetune` trains in two phases. First the whole encoder by this loss, behind a small
# **projection** that is thrown away afterwards; every batch has binders and both kinds of negatives. Then
# the encoder freezes, and the head of lesson 01 learns on its embeddings.
#
# ### Exercise 06.4: train by contrast
# **Goal:** does it learn what holds for new molecules? Fit it on `trained` as `contrastive`, with
# `checkpoint_dir=env.folder("contrastive")` so that a run which is cut off goes on. The
# column `contrastive_loss` of its history has the loss; from the rows with `split` "valid", take
# `loss_first` and `loss_last`. Vectors all at one place would have ln(n - 1), for n molecules.

# %% coursekit="wrong 06.4"
# gets: first and last have changed places
few = ck.load_task(env.task).share(0.02)
strategy = ck.ContrastiveFinetune(lr=1e-3, contrastive_epochs=2)
small = strategy.fit(ck.load_classifier(env.encoder, pooling="mean"), few, epochs=3)
rows = small.history.dropna(subset=["contrastive_loss"])
valid = rows.query("split == 'valid'")["contrastive_loss"]
ck.check("06.4", small, valid.iloc[-1], valid.iloc[0])

# %% coursekit="wrong 06.4"
# gets: that is a training step's
steps = rows.query("split == 'train'")["contrastive_loss"]
ck.check("06.4", small, valid.iloc[0], steps.iloc[-1])

# %% coursekit="wrong 06.4"
# gets: `ck.ContrastiveFinetune(...)` is wanted
head_only = ck.HeadOnlyFinetune().fit(model, few, epochs=1)
ck.check("06.4", head_only, 1.0, 0.5)

# %% coursekit="answer 06.4"
# 06.4 Train by contrast
trained = ck.load_classifier(env.encoder, pooling="mean")
contrastive = ...
loss_first = ...
loss_last = ...
### BEGIN SOLUTION
strategy = ck.ContrastiveFinetune(lr=1e-3, contrastive_epochs=env.pick(quick=2, cpu=10))
epochs, kept = env.pick(quick=6, cpu=40), env.folder("contrastive")
contrastive = strategy.fit(trained, task, epochs, checkpoint_dir=kept)
losses = contrastive.history.query("split == 'valid'")["contrastive_loss"].dropna()
loss_first, loss_last = losses.iloc[0], losses.iloc[-1]
### END SOLUTION

# %% coursekit="check 06.4"
ck.check("06.4", contrastive, loss_first, loss_last)

# %% [markdown] coursekit="hint 06.4"
# `ck.ContrastiveFinetune(lr=1e-3, contrastive_epochs=10).fit(trained, task, epochs=40)`: ten epochs by
# contrast, thirty of the head, which cost next to nothing.

# %% [markdown] coursekit="hint 06.4"
# `contrastive.history.query("split == 'valid'")["contrastive_loss"].dropna()` has one number an epoch.

# %% [markdown] coursekit="success 06.4"
# - I can say why there is no validation AUROC in the first phase.
# - I can say what the held-out loss and the purity tell, and where they disagree.
#
# "When do large batches matter for contrastive learning?" Check one claim of the answer.

# %% [markdown]
# While the encoder learns by contrast there is no classifier to validate; the dotted line marks where
# the head begins. It is best in its second epoch, and those are the weights that are kept.

# %%
from coursekit.evaluation.figures import embedding_figure
from coursekit.runs.bundled import bundled_embeddings

after = trained.embed(list(task.test["smiles"]))
stages, molecules = {"before": before, "after contrastive training": after}, task.test
if contrastive is ...:  # not done yet: those of the run that comes with the course
    stages, molecules = bundled_embeddings("contrastive")
embedding_figure(stages, molecules)

# %% [markdown]
# Each point is a test molecule. The two axes are those along which vectors differ most and hold only a
# part of that; the purities above the panels count in all dimensions. In profile `cpu` (two cores, one
# seed) purity rises from 0.60 to 0.76 among easy and from 0.51 to 0.66 among hard negatives. Yet the
# held-out loss *rose* as well, from 5.15 to 6.63, beyond the 5.19 of vectors that all lie at one place.
# Both are so: more binders have binders next door, and at temperature 0.1 the loss makes each confident
# mistake very dear. A loss is a means; judge by what you need.
#
# ## One more row
# ### Exercise 06.5: did it beat fine-tuning?
# **Goal:** decide by the table, not by the picture. With a fresh model each, fit `frozen`
# (`ck.HeadOnlyFinetune()`, 60 epochs) and `full` (`ck.FullFinetune(lr=1e-3)`, 6 epochs); take the `forest`
# of lesson 00; compare the four in `table`. Then put `"yes"`, `"no"` or `"cannot tell"` into `beats`: is
# `contrastive` ahead of `full` on hard AUROC by more than chance? `table.difference(...)` has the
# interval.

# %% coursekit="wrong 06.5"
# gets: `full` is to be a run of `ck.FullFinetune`
forest = ck.fingerprint_baseline(task, "forest")
frozen = ck.HeadOnlyFinetune().fit(ck.load_classifier(env.encoder, pooling="mean"), task, epochs=3)
table = ck.compare({"frozen": frozen, "contrastive": contrastive, "forest": forest})
ck.check("06.5", frozen, frozen, contrastive, forest, table, "no")

# %% coursekit="wrong 06.5"
# gets: one for each of frozen, full, contrastive, forest is wanted
full = ck.FullFinetune(lr=1e-3).fit(ck.load_classifier(env.encoder), task, epochs=1)
ck.check("06.5", frozen, full, contrastive, forest, table, "no")

# %% coursekit="wrong 06.5"
# gets: 'yes', 'no', 'cannot tell' is asked for
table = ck.compare({"frozen": frozen, "full": full, "contrastive": contrastive, "forest": forest})
ck.check("06.5", frozen, full, contrastive, forest, table, True)

# %% coursekit="wrong 06.5"
# gets: look whether zero is inside
gain = table.difference("contrastive", "full")
ck.check("06.5", frozen, full, contrastive, forest, table, "no" if gain.value > 0 else "yes")

# %% coursekit="answer 06.5"
# 06.5 Did it beat fine-tuning?
frozen = ...
full = ...
forest = ...
table = ...
beats = ...
### BEGIN SOLUTION
fresh = [ck.load_classifier(env.encoder, pooling="mean") for _ in range(2)]
frozen = ck.HeadOnlyFinetune().fit(fresh[0], task, epochs=60)
full = ck.FullFinetune(lr=1e-3).fit(fresh[1], task, 6, checkpoint_dir=env.folder("full"))
forest = ck.fingerprint_baseline(task, "forest")
runs = {"frozen": frozen, "full": full, "contrastive": contrastive, "forest": forest}
table = ck.compare(runs)
gain = table.difference("contrastive", "full")  # hard AUROC, if nothing else is said
beats = "cannot tell" if not gain.clear else "yes" if gain.value > 0 else "no"
### END SOLUTION
table

# %% coursekit="check 06.5"
ck.check("06.5", frozen, full, contrastive, forest, table, beats)

# %% [markdown] coursekit="hint 06.5"
# `table.difference("contrastive", "full")` shows the difference in hard AUROC and its interval.

# %% [markdown] coursekit="hint 06.5"
# If zero lies inside of the interval, chance could have made the difference: "cannot tell".

# %% [markdown] coursekit="success 06.5"
# - I know whether contrast beat fine-tuning here, and how sure that is.
# - I know the row with the highest hard AUROC.
#
# "Why might a representation with purer neighborhoods not rank better?"

# %% [markdown]
# In profile `cpu` the new row has a hard AUROC of 0.740, `full` 0.723. The difference, +0.017
# [-0.043, +0.075], holds zero: **one cannot tell**. Contrast does beat `frozen`, by 0.131 [0.053, 0.209],
# with the same kind of head: what lesson 01 lacked were better vectors. It took about twice the time of
# `full`, and the forest, 0.750, is still the first row. Why no more? Both saw the same labels, and 240
# binders, which may bind in several ways.
#
# **Elsewhere.** `encoder="DeepChem/ChemBERTa-77M-MLM"` in `ck.setup` takes another encoder; give it a
# `lr` near 3e-5. After `coursekit data fetch mapk14`, `task="mapk14"` takes KinDEL's molecules. The
# exercises stay, all numbers change.
#
# ## Reflection
# ### Exercise 06.6
# Why did it end so? In three or four sentences: what does the contrastive loss ask that cross-entropy does
# not, why might that help or not on hard negatives with so few binders, and what would you try next? A
# person reads this.

# %% coursekit="answer 06.6"
# 06.6 Why did it end so?
reflection_06 = ...
### BEGIN SOLUTION
reflection_06 = """
Cross-entropy only asks for a line between binders and negatives; the contrastive loss asks that all
binders lie close together and that what lies among them, the hard negatives, moves out. That spends
the encoder's freedom where the classes mix, but binders of one protein can bind in several ways, and
forcing a few hundred of them to one place may teach the families of the training set rather than what
makes a hard negative fail. Fine-tuning moves the same encoder with the same labels, so there is little
new information. I would try more binders, a higher temperature, or training everything afterwards, over
several seeds.
"""
### END SOLUTION

# %% coursekit="check 06.6"
ck.check("06.6", reflection_06)

# %% [markdown] coursekit="hint 06.6"
# Do all binders of a protein resemble each other? What does the loss do where they do not?

# %% [markdown] coursekit="hint 06.6"
# Both losses saw the same molecules and labels. What could one have learned that the other could not?

# %% [markdown] coursekit="rubric 06.6"
# One point each: (1) pairs against single molecules: closeness of binders is asked for, and nearness
# decides who is pushed; (2) a reason for the outcome that fits the table, such as few or unlike binders, or
# no new labels; (3) a next step that could tell, with seeds or intervals.

# %% [markdown] coursekit="success 06.6"
# - My reason fits my table.
# - My next step could tell.
#
# "In which published settings does supervised contrastive training beat cross-entropy, and by how
# much?" Look whether its sources say so.

# %% [markdown]
# ## Before you hand in
# Could you say each sentence of the success lists to a colleague? Ask your assistant what the checks
# suggest, and hold one claim of each answer against a source or your own numbers.
#
# **To go further:** `ck.ContrastiveFinetune(then="full")` trains everything after the contrast. This was the
# last lesson: which row of your table would you send to the lab?

# %%
ck.handin()
