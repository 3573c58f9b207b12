# ---
# jupyter:
#   coursekit:
#     minutes: {quick: 1, cpu: 1, t4: 1, full: 1}
#     exercises: {"01.1": [10], "01.2": [5], "01.3": [10, 0.3, 0.1], "01.4": [10, 0.3, 0.2], "01.5": [5], "01.6": [10]}
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 Your first molecular transformer
#
# **Why this lesson.** A transformer that has read many molecules knows something about chemistry
# before it has seen a single label. How much of that helps to find binders, if we only listen and
# change nothing in it?
#
# **After it you can** cut a SMILES into tokens, turn token vectors into one vector per molecule, train
# a classifier on them, read AUROC and AU-PRC with their intervals on easy and on hard negatives, and
# say what a frozen model cannot see.
#
# **Needed before:** lesson 00; a first acquaintance with PyTorch and scikit-learn. **Time:** 60
# minutes, of which the computer works for about one on two processor cores (measured), and one on a
# T4 (an estimate). **Hand in:** this notebook, saved after its last cell.

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

env = ck.setup(lesson="01", made_with=ck.__version__)

# %% [markdown]
# ## Molecules as sentences
# An **encoder** is a network that reads a sentence of **tokens** and gives a vector for each. In a
# **transformer** (Vaswani et al. 2017, arXiv 1706.03762) every token looks at all others, through
# several **blocks** of layers, one upon the other. Ours, `coursekit-mini`, is a small one that was
# **pretrained**: it learned to guess masked tokens in molecules, without any labels. `encoder="DeepChem/ChemBERTa-77M-MLM"` in `ck.setup` takes a larger one
# that was pretrained in the same way on many more molecules (Ahmad et al. 2022, arXiv 2209.01712);
# everything below then runs unchanged, several times slower on a processor. So it does on KinDEL, with
# `task="mapk14"`, once that is fetched (lesson 00). The numbers in the text are those of the sample.

# %%
task = ck.load_task(env.task)
model = ck.load_classifier(env.encoder, pooling="mean")
smiles = task.test["smiles"].iloc[0]
ids = model.tokenizer(smiles)["input_ids"]
print(smiles, model.tokenizer.convert_ids_to_tokens(ids), sep="\n")

# %% [markdown]
# One token is one atom, bond, ring mark or branch. Two tokens are not in the SMILES: `[CLS]` opens
# every sentence and `[SEP]` closes it.
#
# ### Exercise 01.1: cut a SMILES into tokens
# **Goal:** see what the model reads. Write `split_smiles`, which returns a list of tokens: what stands
# in square brackets is one token, `Cl` and `Br` are one token, every other character is one. Joined,
# they must give the SMILES back. (The idea goes back to Schwaller et al. 2018, doi
# 10.1039/C8SC02339E.) Why would it be bad to cut `Cl` into `C` and `l`?


# %% coursekit="wrong 01.1"
# gets: two-letter symbol, Cl and Br
def split_smiles(smiles):
    return list(smiles)


ck.check("01.1", split_smiles)

# %% coursekit="wrong 01.1"
# gets: cuts into a bracket
import re


def split_smiles(smiles):
    return re.findall(r"Cl|Br|.", smiles)


ck.check("01.1", split_smiles)


# %% coursekit="wrong 01.1"
# gets: loses something
def split_smiles(smiles):
    return re.findall(r"\[[^\]]*\]|Cl|Br|[A-Za-z]", smiles)


ck.check("01.1", split_smiles)

# %% coursekit="answer 01.1"
# 01.1 Cut a SMILES into tokens
import re


def split_smiles(smiles):
    ### BEGIN SOLUTION
    return re.findall(r"\[[^\]]*\]|Cl|Br|.", smiles)
    ### END SOLUTION


# %% coursekit="check 01.1"
ck.check("01.1", split_smiles)

# %% [markdown] coursekit="hint 01.1"
# `re.findall` takes the first alternative that fits, from left to right: put longer ones first.

# %% [markdown] coursekit="hint 01.1"
# `\[[^\]]*\]` is a bracket with everything in it; `.` at the end takes any other character.

# %% [markdown] coursekit="success 01.1"
# - My tokens, joined, give the SMILES back.
# - I can say which two tokens of the model are not in the SMILES.
#
# "What would change if a chemical language model read single characters?"

# %% [markdown]
# ## From tokens to one vector
# The encoder gives a vector for every token, and molecules differ in length. In a **batch**, short ones
# are filled up with `[PAD]`; the **mask** is 1 for real tokens and 0 for padding. **Pooling** makes one
# vector per molecule: that of `[CLS]`, which stands for the whole sentence in BERT (Devlin et al. 2018,
# arXiv 1810.04805), or the mean over real tokens.

# %%
batch = model.tokenizer(["CCO", smiles], padding=True, return_tensors="pt")
hidden = model.encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
print("molecules, tokens, width:", tuple(hidden.shape))
print("real tokens in each:", batch["attention_mask"].sum(dim=1).tolist())

# %% [markdown]
# ### Exercise 01.2: mean pooling
# **Goal:** average without padding. Write `mean_pool` for `hidden` of shape (molecules, tokens, width)
# and `mask` of shape (molecules, tokens), both PyTorch tensors.


# %% coursekit="wrong 01.2"
# gets: averages over padding too
def mean_pool(hidden, mask):
    return hidden.mean(dim=1)


ck.check("01.2", mean_pool)


# %% coursekit="wrong 01.2"
# gets: divides by the length with padding
def mean_pool(hidden, mask):
    return (hidden * mask.unsqueeze(-1)).mean(dim=1)


ck.check("01.2", mean_pool)


# %% coursekit="wrong 01.2"
# gets: One vector for each molecule
def mean_pool(hidden, mask):
    return hidden.mean(dim=2)


ck.check("01.2", mean_pool)


# %% coursekit="wrong 01.2"
# gets: first token's vector
def mean_pool(hidden, mask):
    return hidden[:, 0]


ck.check("01.2", mean_pool)


# %% coursekit="answer 01.2"
# 01.2 Mean pooling
def mean_pool(hidden, mask):
    ### BEGIN SOLUTION
    real = mask.unsqueeze(-1)  # (B, T, 1): the same for every number of a vector
    return (hidden * real).sum(dim=1) / real.sum(dim=1)
    ### END SOLUTION


# %% coursekit="check 01.2"
ck.check("01.2", mean_pool)

# %% [markdown] coursekit="hint 01.2"
# Multiply padding away first. `mask.unsqueeze(-1)` gives the mask a third dimension of size 1.

# %% [markdown] coursekit="hint 01.2"
# Sum over dimension 1, then divide by how many tokens are real, not by how many there are.

# %% [markdown] coursekit="success 01.2"
# - I can say what the mask is for, and by what the sum is divided.
# - My function gives the same vector however much padding there is.
#
# "When is the vector of [CLS] better than the mean over tokens, and who measured it?"

# %% [markdown]
# ## Embed once, then learn
# A **frozen** encoder gives a molecule the same vector every time. So it is enough to run it once over
# all molecules; what learns afterwards is any small model on these vectors, its **head**.
#
# ### Exercise 01.3: a head by scikit-learn
# **Goal:** a classifier on frozen vectors. `model.embed(list_of_smiles)` gives an array with one row
# per molecule. Fit a logistic regression on the train part (scaling the columns first helps), and put
# the probability of "binder" for each molecule of the test part, in its order, into `frozen_scores`.

# %% coursekit="wrong 01.3"
# gets: those are decisions
from sklearn.linear_model import LogisticRegression

wrong_model = LogisticRegression(max_iter=2000)
test_vectors = model.embed(list(task.test["smiles"]))
wrong_model.fit(test_vectors[::3], task.test["label"][::3])
ck.check("01.3", wrong_model.predict(test_vectors), task)

# %% coursekit="wrong 01.3"
# gets: probability of class 0
ck.check("01.3", wrong_model.predict_proba(test_vectors)[:, 0], task)

# %% coursekit="wrong 01.3"
# gets: one for each class
ck.check("01.3", wrong_model.predict_proba(test_vectors), task)

# %% coursekit="wrong 01.3"
# gets: hardly more than guessing
ck.check("01.3", wrong_model.predict_proba(test_vectors)[::-1, 1], task)

# %% coursekit="wrong 01.3"
# gets: did the labels get in
ck.check("01.3", task.test["label"] + test_vectors[:, 0] / 1000, task)

# %% coursekit="answer 01.3"
# 01.3 A head by scikit-learn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

frozen_scores = ...
### BEGIN SOLUTION
vectors = {part: model.embed(list(task.part(part)["smiles"])) for part in ("train", "test")}
head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
head.fit(vectors["train"], task.train["label"])
frozen_scores = head.predict_proba(vectors["test"])[:, 1]
### END SOLUTION

# %% coursekit="check 01.3"
ck.check("01.3", frozen_scores, task)

# %% [markdown] coursekit="hint 01.3"
# `make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))` is fitted like one model.

# %% [markdown] coursekit="hint 01.3"
# `predict_proba` gives two columns, for labels 0 and 1; keep the second: `[:, 1]`.

# %% [markdown] coursekit="success 01.3"
# - I can say which part of the model learned, and which did not.
# - My scores are probabilities, in the order of the test part.
#
# "Why does scaling columns matter for logistic regression with a penalty?"

# %% [markdown]
# ## The table
# The kit does the same in two lines: `ck.HeadOnlyFinetune()` trains only a linear head, and `fit` gives
# a **run**, which keeps predictions, scores and cost. With runs, approaches go into one table, on the
# same molecules. In brackets are 95% intervals; under the table, whether a difference is larger than
# chance.
#
# ### Exercise 01.4: the first row
# **Goal:** frozen vectors against the baseline of lesson 00. Fit `ck.HeadOnlyFinetune()` on `model` and
# `task` for 60 **epochs** (passes over the train part) as `frozen`, take the forest as `forest`, and compare them as `"frozen"` and
# `"forest"` in `table`. Is the order what you expected?

# %% coursekit="wrong 01.4"
# gets: the encoder stays frozen with
logistic = ck.fingerprint_baseline(task, "logistic")
ck.check("01.4", logistic, logistic, ck.compare({"logistic": logistic}))

# %% coursekit="answer 01.4"
# 01.4 The first row of the table
frozen = ...
forest = ...
table = ...
### BEGIN SOLUTION
frozen = ck.HeadOnlyFinetune().fit(model, task, epochs=60)
forest = ck.fingerprint_baseline(task, "forest")
table = ck.compare({"frozen": frozen, "forest": forest})
### END SOLUTION
table

# %% coursekit="check 01.4"
ck.check("01.4", frozen, forest, table)

# %% [markdown] coursekit="hint 01.4"
# `strategy.fit(model, task, epochs=60)` returns the run; `ck.compare` takes a dict of runs.

# %% [markdown] coursekit="hint 01.4"
# `ck.HeadOnlyFinetune().fit(model, task, epochs=60)`, and the forest as in lesson 00.

# %% [markdown] coursekit="success 01.4"
# - I know by how much the forest is ahead on hard negatives.
# - I can say whether chance could do that.
#
# "When would a linear probe beat fine-tuning?" Ask for a source, and look whether it says so.

# %% [markdown]
# The picture of the training shows the **loss**, how wrong the model is, on molecules that it learns from
# (train) and on others (valid). Both fall, then lie flat: a linear head soon has what there is.
# Behind the scores of the table are curves, one point for each threshold:

# %%
from IPython.display import display

from coursekit.evaluation.figures import loss_curves, roc_pr_curves

runs = {"frozen": frozen, "forest": forest}
if table is ...:  # not done yet: a run that comes with the course, its training, and its forest
    sample = ck.load_task("sample")
    runs = {"frozen": ck.bundled_run("frozen"), "forest": ck.fingerprint_baseline(sample, "forest")}
    display(loss_curves(runs["frozen"]))
roc_pr_curves(runs)

# %% [markdown]
# Each curve of the upper row shows, for every threshold, the share of binders found against the share
# of negatives taken along; the further to the upper left, the better. On this task **the fingerprints
# win**: a forest on bits that name pieces of structure beats vectors that were made for guessing
# tokens. Hard negatives cost both about as much. Your head of exercise 01.3 scores
# higher than `frozen`, from the same vectors: scaled columns and a solver that runs to the end suit a
# linear head better than sixty epochs of small steps. Frozen vectors hold more than one head gets out.
#
# ## What a score means out there
# **Prevalence** is the share of binders. It is one half in our test sets and perhaps one in a hundred in
# a library. AUROC does not change with it; precision and AU-PRC do (Saito and Rehmsmeier 2015, doi
# 10.1371/journal.pone.0118432).
#
# ### Exercise 01.5: precision elsewhere
# **Goal:** carry a result over. Write `precision_at(tpr, fpr, prevalence)`: of what is called a binder,
# which share is one? `tpr` is the share of binders that are found, `fpr` that of negatives taken along.


# %% coursekit="wrong 01.5"
# gets: leaves prevalence out
def precision_at(tpr, fpr, prevalence):
    return tpr / (tpr + fpr)


ck.check("01.5", precision_at)


# %% coursekit="wrong 01.5"
# gets: true positives over all positives
def precision_at(tpr, fpr, prevalence):
    return tpr * prevalence


ck.check("01.5", precision_at)


# %% coursekit="answer 01.5"
# 01.5 Precision elsewhere
def precision_at(tpr, fpr, prevalence):
    ### BEGIN SOLUTION
    true = tpr * prevalence
    false = fpr * (1 - prevalence)
    return true / (true + false)
    ### END SOLUTION


# %% coursekit="check 01.5"
ck.check("01.5", precision_at)

# %% [markdown] coursekit="hint 01.5"
# Imagine 1,000 molecules: how many true and how many false positives are among them?

# %% [markdown] coursekit="hint 01.5"
# True positives are `tpr * prevalence` of all molecules, false ones `fpr * (1 - prevalence)`.

# %% [markdown] coursekit="success 01.5"
# - I can carry a precision over to a library with 1% of binders.
# - I can say why an AU-PRC without its prevalence says little.
#
# "Which score would you report for a library in which one molecule of ten thousand binds?"

# %% [markdown]
# ## Reflection
# ### Exercise 01.6
# Why do frozen vectors lose more on hard negatives than on easy ones? In three or four sentences: what
# was the encoder trained to tell apart, what does a hard negative ask for, and what would have to change
# in the model? A person reads this.

# %% coursekit="answer 01.6"
# 01.6 What a frozen model cannot see
reflection_01 = ...
### BEGIN SOLUTION
reflection_01 = """
The encoder learned to guess masked tokens, so its vectors tell apart what matters for that: which
rings and groups a molecule has and how SMILES are written. Nothing in that task asks which small
change decides about binding. A hard negative shares most of its structure with a binder, so the two
get nearly the same vector, and a linear head cannot pull apart what lies together. The blocks
themselves would have to move, so that the vectors differ where the labels do.
"""
### END SOLUTION

# %% coursekit="check 01.6"
ck.check("01.6", reflection_01)

# %% [markdown] coursekit="hint 01.6"
# Where do a binder and its hard negative lie, if the encoder calls them nearly the same?

# %% [markdown] coursekit="hint 01.6"
# The head can only weigh the columns it is given; who makes the columns?

# %% [markdown] coursekit="rubric 01.6"
# One point each: (1) pretraining had no binding labels, and what it did ask for; (2) hard negatives lie
# close to binders, so their vectors do; (3) the encoder's weights, and not only the head, must change.

# %% [markdown] coursekit="success 01.6"
# - I say what pretraining asked for, and what it did not.
# - I say what would have to change in the model.
#
# "Which layers of a chemical language model hold which information?"

# %% [markdown]
# ## Before you hand in
# Could you say each sentence of the success lists to a colleague? Ask your assistant what the checks
# suggest, and hold one claim of each answer against a source or your own numbers.
#
# **To go further:** `ck.load_classifier(env.encoder, pooling="cls")`: how much does pooling matter?
# Next: lesson 02, where the blocks begin to move.

# %%
ck.handin()
