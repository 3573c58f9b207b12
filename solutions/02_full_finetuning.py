# ---
# jupyter:
#   coursekit:
#     minutes: {quick: 1, cpu: 1, t4: 4, full: 8}
#     exercises: {"02.1": [20, 0.1, 0.1], "02.2": [15, 0.4, 3], "02.3": [5], "02.4": [15, 0.1, 0.5], "02.5": [15]}
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 Unfreezing the transformer
#
# **Why this lesson.** In lesson 01 the encoder stayed as it was, and fingerprints beat it. Now all of
# its weights may move. Does that pay, on which negatives, and at what cost?
#
# **After it you can** set up fine-tuning in plain PyTorch and say what each line is for, fine-tune an
# encoder without wrecking it, watch, stop and resume a run, and fill the table this course is about.
#
# **Needed before:** lesson 01. **Time:** 90 minutes, of which the computer works for about one on two
# processor cores (measured), on a quarter of the sample, and four on a T4 with ChemBERTa (an estimate). **Hand in:** this
# notebook, saved after its last cell: setup and loop, loss curve, scores, table, five short answers.

# %% [markdown]
# ## Setup
# On Colab, first upload coursekit's wheel (`coursekit-….whl`) to the files pane. With a GPU,
# `encoder="DeepChem/ChemBERTa-77M-MLM"` in `ck.setup` takes the larger encoder; after
# `coursekit data fetch mapk14`, `task="mapk14"` takes KinDEL. All numbers change then; the
# cells do not.

# %%
import glob
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("coursekit") is None:
    wheel = glob.glob("coursekit-*.whl")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *wheel], check=True)
import coursekit as ck

env = ck.setup(lesson="02", made_with=ck.__version__)

# %%
import torch

task = ck.load_task(env.task, share=env.pick(quick=0.05, cpu=0.25, t4=1.0))
model = ck.load_classifier(env.encoder, pooling="mean")
shuffled = task.train.sample(frac=1, random_state=0)
batches = []
for start in range(0, min(640, len(shuffled)), 32):
    rows = shuffled[start : start + 32]
    fed = model.tokenizer(list(rows["smiles"]), padding=True, return_tensors="pt").to(model.device)
    labels = torch.tensor(rows["label"].to_numpy(), dtype=torch.float32, device=model.device)
    batches.append((fed["input_ids"], fed["attention_mask"], labels))

# %% [markdown]
# Each batch has `ids` and `mask` of shape (molecules, tokens), and `labels`: 1 for binders.
#
# ## By hand
# **Fine-tuning** lets pretrained weights move on, for a new task. Its setup takes three things: a
# **head**, one linear layer that makes a **logit** of the pooled vector (above 0 means "binder"); a loss, **binary cross-entropy**, small if binders get high logits and
# negatives low ones; and an **optimizer** that may change *all* weights. Training is then one step, many
# times: how wrong is the model on a batch, in which direction does each weight make it worse (the
# **gradient**), move each a little the other way. How far is the **learning rate**.
#
# ### Exercise 02.1: setup and loop
# **Goal:** know what each line is for. Write `build`, which returns a head for the encoder (its width is
# `encoder.config.hidden_size`) and an AdamW optimizer over the weights of both; then `training_step`, with
# `torch.nn.functional.binary_cross_entropy_with_logits` for the loss; then the loop, which puts the loss
# of each batch into `losses`.


# %% coursekit="wrong 02.1"
# gets: does not know the encoder's weights
def build(encoder, lr):
    head = torch.nn.Linear(encoder.config.hidden_size, 1)
    return head, torch.optim.AdamW(head.parameters(), lr=lr)


def training_step(encoder, head, optimizer, ids, mask, labels):
    return torch.zeros(())


ck.check("02.1", build, training_step, [0.7])


# %% coursekit="wrong 02.1"
# gets: to one logit
def build(encoder, lr):
    head = torch.nn.Linear(encoder.config.hidden_size, 2)
    return head, torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=lr)


ck.check("02.1", build, training_step, [0.7])

# %% coursekit="wrong 02.1"
# gets: gradients of earlier steps
from torch.nn.functional import binary_cross_entropy_with_logits

from coursekit.models.blocks import masked_mean


def build(encoder, lr):
    head = torch.nn.Linear(encoder.config.hidden_size, 1)
    return head, torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=lr)


def training_step(encoder, head, optimizer, ids, mask, labels):
    logits = head(masked_mean(encoder(ids, mask).last_hidden_state, mask)).squeeze(-1)
    loss = binary_cross_entropy_with_logits(logits, labels)
    loss.backward()
    optimizer.step()
    return loss


ck.check("02.1", build, training_step, [0.7])


# %% coursekit="wrong 02.1"
# gets: must be the same as input size
def training_step(encoder, head, optimizer, ids, mask, labels):
    logits = head(masked_mean(encoder(ids, mask).last_hidden_state, mask))
    return binary_cross_entropy_with_logits(logits, labels)


ck.check("02.1", build, training_step, [0.7])


# %% coursekit="wrong 02.1"
# gets: weights are what they were
def training_step(encoder, head, optimizer, ids, mask, labels):
    logits = head(masked_mean(encoder(ids, mask).last_hidden_state, mask)).squeeze(-1)
    return binary_cross_entropy_with_logits(logits, labels)


ck.check("02.1", build, training_step, [0.7])


# %% coursekit="wrong 02.1"
# gets: puts a sigmoid before the loss
def training_step(encoder, head, optimizer, ids, mask, labels):
    logits = head(masked_mean(encoder(ids, mask).last_hidden_state, mask)).squeeze(-1)
    loss = binary_cross_entropy_with_logits(logits.sigmoid(), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


ck.check("02.1", build, training_step, [0.7])


# %% coursekit="wrong 02.1"
# gets: averages over padding too
def training_step(encoder, head, optimizer, ids, mask, labels):
    logits = head(encoder(ids, mask).last_hidden_state.mean(dim=1)).squeeze(-1)
    loss = binary_cross_entropy_with_logits(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


ck.check("02.1", build, training_step, [0.7])


# %% coursekit="wrong 02.1"
# gets: let it return the loss
def training_step(encoder, head, optimizer, ids, mask, labels):
    logits = head(masked_mean(encoder(ids, mask).last_hidden_state, mask)).squeeze(-1)
    loss = binary_cross_entropy_with_logits(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


ck.check("02.1", build, training_step, [0.7])


# %% coursekit="answer 02.1"
# 02.1 One step; masked_mean(hidden, mask) is the pooling of exercise 01.2
from coursekit.models.blocks import masked_mean


def training_step(encoder, head, optimizer, ids, mask, labels):
    ### BEGIN SOLUTION
    hidden = encoder(ids, mask).last_hidden_state  # (B, T, H)
    logits = head(masked_mean(hidden, mask)).squeeze(-1)  # (B, 1) to (B,)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
    ### END SOLUTION


# %% coursekit="answer 02.1"
# 02.1 Head and optimizer, and the loop over batches
def build(encoder, lr):
    ### BEGIN SOLUTION
    head = torch.nn.Linear(encoder.config.hidden_size, 1, device=encoder.device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=lr)
    return head, optimizer
    ### END SOLUTION


losses = ...
### BEGIN SOLUTION
head, optimizer = build(model.encoder, lr=1e-3)
losses = []
for ids, mask, labels in batches:
    loss = training_step(model.encoder, head, optimizer, ids, mask, labels)
    losses.append(loss.item())
### END SOLUTION

# %% coursekit="check 02.1"
ck.check("02.1", build, training_step, losses)

# %% [markdown] coursekit="hint 02.1"
# Seven lines make the step: hidden states, logits, loss, `zero_grad`, `backward`, `step`, `return`.

# %% [markdown] coursekit="hint 02.1"
# `head` gives shape (B, 1) and the labels have (B,): `.squeeze(-1)` takes the last dimension away.

# %% [markdown] coursekit="hint 02.1"
# `torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=lr)` knows all weights.

# %% [markdown] coursekit="success 02.1"
# - I can say what each line of the step is for.
# - I can say what happens without `zero_grad`, and without `squeeze`.
#
# "What does AdamW do with a gradient that plain gradient descent does not?"

# %% [markdown]
# ## With the kit
# Twenty steps show more noise than learning, and your loop lacks what a real run needs: **validation**,
# scores on molecules that it does not learn from; a **warm-up** by small steps; **checkpoints**, copies
# on disk to go on from; the best epoch back. The kit has them, and so has the alternative, Hugging Face's `Trainer` (`TrainingArguments` with
# `learning_rate`, `num_train_epochs`, `per_device_train_batch_size`).
#
# Large steps on few labels overwrite what pretraining taught: **catastrophic forgetting** (McCloskey and
# Cohen 1989, doi 10.1016/S0079-7421(08)60536-8). So encoders of BERT's size take 2e-5 to 5e-5 (Devlin et
# al. 2018, arXiv 1810.04805) for 3 to 5 epochs, and less in lower blocks, which hold what is general
# (Howard and Ruder 2018, arXiv 1801.06146). Our bundled encoder is about a hundred times smaller than
# BERT: 1e-3 was best on its validation part. The **strategy explorer** shows who would train how fast and, from a few
# real steps, what it would take; turn its knobs, nothing trains yet.

# %%
lr = 1e-3 if env.encoder == "coursekit-mini" else 3e-5
epochs = env.pick(quick=3, cpu=5)
strategy = ck.FullFinetune(lr=lr, layer_lr_decay=0.9)
fresh = ck.load_classifier(env.encoder, pooling="mean")  # your steps moved the other one's weights
ck.strategy_explorer(fresh, task, strategy, epochs)

# %% [markdown]
# Every cell is hatched: everything trains, all the time. Learning rates fall from the head down to the
# **embeddings**, the vectors that tokens begin with, and from the first epoch to the last.
#
# **If memory does not suffice:** a batch of 8 or 4 with `accumulate=4` or `8` makes the same step in
# pieces; `gradient_checkpointing=True` computes twice what one layer hands to the next, to keep less of it; a smaller encoder and
# fewer epochs always help. What each takes here, measured on a few steps:

# %%
from dataclasses import replace

for change in ({"batch_size": 8, "accumulate": 4}, {"gradient_checkpointing": True}):
    print(ck.expected_cost(replace(strategy, **change), fresh, task, epochs), change)

# %% [markdown]
# Compare with the explorer's line. On a processor the kit sends few molecules at a time through the model
# anyway, so a smaller batch saves little; on a GPU, where a whole batch goes at once, try it first.
#
# ### Exercise 02.2: train
# **Goal:** a fine-tuned model, and a curve that you understand. Call `strategy.fit` with `fresh`, `task`,
# `epochs` and `checkpoint_dir=env.folder("fine-tuned")`; put the run into `fine_tuned`. The picture moves
# while it trains. Press stop in the middle once, look at what it says, and run the cell again: it goes
# on where it stopped, as it would after a lost connection. Run a finished one again and it comes back at once.

# %% coursekit="wrong 02.2"
# gets: full fine-tuning trains all
few = ck.load_task(env.task, share=0.02)
frozen = ck.HeadOnlyFinetune().fit(ck.load_classifier(env.encoder), few, epochs=2)
ck.check("02.2", frozen)

# %% coursekit="wrong 02.2"
# gets: a run is wanted
ck.check("02.2", strategy.plan(fresh, epochs).per_epoch())

# %% coursekit="wrong 02.2"
# gets: it hardly learns
slow = ck.FullFinetune(lr=1e-9, batch_size=8)
ck.check("02.2", slow.fit(ck.load_classifier(env.encoder), few, epochs=2))

# %% coursekit="wrong 02.2"
# gets: came with the course
ck.check("02.2", ck.bundled_run("fine-tuned"))

# %% coursekit="answer 02.2"
# 02.2 Train everything
fine_tuned = ...
### BEGIN SOLUTION
fine_tuned = strategy.fit(fresh, task, epochs=epochs, checkpoint_dir=env.folder("fine-tuned"))
### END SOLUTION

# %% coursekit="check 02.2"
ck.check("02.2", fine_tuned)

# %% [markdown] coursekit="hint 02.2"
# `fit` takes the model first, then the task; the rest by name.

# %% [markdown] coursekit="hint 02.2"
# `fine_tuned = strategy.fit(fresh, task, epochs=epochs, checkpoint_dir=env.folder("fine-tuned"))`

# %% [markdown] coursekit="success 02.2"
# - I can say what the gray line, the dots and the right panel show.
# - I can say why the learning rate is small, and smaller for lower blocks.
# - I stopped a run, and it went on where it had stopped.
#
# "What would you look at first if my validation loss rises from epoch 2 on?" Check the answer
# against your curve.

# %% [markdown]
# Read the left panel: the gray line is the loss of single steps, noisy because each sees other molecules;
# dots are means over an epoch. Where the training loss keeps falling and the validation loss does not,
# the model begins to learn molecules by heart; the kit gives the weights of the best epoch back. On the
# right, ranking on the two kinds of negatives. "Numbers by epoch" opens the table.
#
# ### Exercise 02.3: four numbers
# **Goal:** the scores of lesson 01, for the new model. Put those of the test part into `scores`: what
# `fine_tuned.scores()` returns, or a dict with `auroc_easy`, `au_prc_easy`, `auroc_hard`, `au_prc_hard`.

# %% coursekit="wrong 02.3"
# gets: test part is asked for
ck.check("02.3", fine_tuned, fine_tuned.scores("valid", n_boot=0))

# %% coursekit="wrong 02.3"
# gets: `scores` lacks
ck.check("02.3", fine_tuned, {"auroc_easy": 0.9})

# %% coursekit="wrong 02.3"
# gets: Was it made from another run
ck.check("02.3", fine_tuned, ck.bundled_run("frozen").scores(n_boot=0))

# %% coursekit="answer 02.3"
# 02.3 Evaluate it
scores = ...
### BEGIN SOLUTION
scores = fine_tuned.scores()
### END SOLUTION
scores

# %% coursekit="check 02.3"
ck.check("02.3", fine_tuned, scores)

# %% [markdown] coursekit="hint 02.3"
# A run knows its predictions: `fine_tuned.scores()` scores them, on the test part by default.

# %% [markdown] coursekit="hint 02.3"
# `scores = fine_tuned.scores()`

# %% [markdown] coursekit="success 02.3"
# - I can say on which molecules these scores were made.
# - I can say which of the four is hardest to raise.
#
# "Why may the test part not decide when training ends?"

# %% [markdown]
# ## The comparison
# ### Exercise 02.4: the table
# **Goal:** frozen against fine-tuned. Fit `ck.HeadOnlyFinetune()` for 60 epochs on a **newly loaded**
# model as `frozen`, and compare `"frozen"` with `"fine-tuned"` in `comparison`. Then cut `table` out of
# `comparison.table`: exactly `easy AUROC`, `easy AU-PRC`, `hard AUROC`, `hard AU-PRC`.

# %% coursekit="wrong 02.4"
# gets: the encoder stays frozen with
comparison = ck.compare({"frozen": fine_tuned, "fine-tuned": fine_tuned})
four = ["easy AUROC", "easy AU-PRC", "hard AUROC", "hard AU-PRC"]
ck.check("02.4", fine_tuned, fine_tuned, comparison.table[four])

# %% coursekit="wrong 02.4"
# gets: had been trained before
frozen = ck.HeadOnlyFinetune().fit(fresh, task, epochs=2)
comparison = ck.compare({"frozen": frozen, "fine-tuned": fine_tuned})
ck.check("02.4", frozen, fine_tuned, comparison.table[four])

# %% coursekit="wrong 02.4"
# gets: exactly these four are wanted
again = ck.load_classifier(env.encoder, pooling="mean")
frozen = ck.HeadOnlyFinetune().fit(again, task, epochs=2)
comparison = ck.compare({"frozen": frozen, "fine-tuned": fine_tuned})
ck.check("02.4", frozen, fine_tuned, comparison)

# %% coursekit="wrong 02.4"
# gets: the rows are swapped
swapped = ck.compare({"frozen": fine_tuned, "fine-tuned": frozen})
ck.check("02.4", frozen, fine_tuned, swapped.table[four])

# %% coursekit="wrong 02.4"
# gets: 'frozen' and 'fine-tuned' are wanted
ck.check("02.4", frozen, fine_tuned, comparison.table[four].loc[["fine-tuned"]])

# %% coursekit="wrong 02.4"
# gets: has no column 'easy AU-PRC'
ck.check("02.4", frozen, fine_tuned, comparison.table[["easy AUROC", "hard AUROC"]])

# %% coursekit="answer 02.4"
# 02.4 Frozen against fine-tuned
frozen = ...
comparison = ...
table = ...
### BEGIN SOLUTION
again = ck.load_classifier(env.encoder, pooling="mean")
frozen = ck.HeadOnlyFinetune().fit(again, task, epochs=60)
comparison = ck.compare({"frozen": frozen, "fine-tuned": fine_tuned})
table = comparison.table[["easy AUROC", "easy AU-PRC", "hard AUROC", "hard AU-PRC"]]
### END SOLUTION
comparison

# %% coursekit="check 02.4"
ck.check("02.4", frozen, fine_tuned, table)

# %% [markdown] coursekit="hint 02.4"
# Four lines: load, fit as in lesson 01, `ck.compare` with a dict of two runs, and the four columns.

# %% [markdown] coursekit="hint 02.4"
# `table = comparison.table[["easy AUROC", "easy AU-PRC", "hard AUROC", "hard AU-PRC"]]`

# %% [markdown] coursekit="success 02.4"
# - My table has both rows and the four columns.
# - I know what its intervals leave out.
#
# "How does a paired comparison of two models differ from looking whether two bars overlap?"

# %% [markdown]
# No time to train? The course brings both runs along, on the whole sample (profile `cpu`, two cores of a
# shared machine). Below are your runs if there are any; if not, theirs, and their loss curve.

# %%
from IPython.display import display

from coursekit.evaluation.figures import loss_curves, scores_figure

bundled = {name: ck.bundled_run(name) for name in ("frozen", "fine-tuned")}
if fine_tuned is ...:
    display(loss_curves(bundled["fine-tuned"]))
shown = ck.compare(bundled) if comparison is ... else comparison
display(scores_figure(shown))
ck.threshold_explorer(shown.runs)

# %% [markdown]
# Each mark is a score, each bar its 95% interval. The sentence under the table compares the two runs on
# the same molecules, which is sharper than looking whether two bars overlap. Neither shows how far a
# second training, from another random start, would fall; lesson 03 does. And put the forest of lesson 00 beside
# it before you celebrate: what takes minutes has to beat what takes seconds.
#
# The **threshold explorer** turns a score into a decision: everything above the threshold is called a
# binder. Move it, and watch how hard negatives are taken along sooner than easy ones.
#
# ## Reflection
# ### Exercise 02.5: five short answers
# One or two sentences each, with numbers from your table where there are any. `how_much_better` is the
# fine-tuned model, and is it more than chance? `worth_it`: was the compute? `easy_or_hard`: which
# negatives gained more, and why? `small_set`: what is the risk on a hundred labeled molecules?
# `contrastive`: would an objective that pulls binders together and pushes hard negatives away do better?

# %% coursekit="answer 02.5"
# 02.5 Five short answers
how_much_better = ...
worth_it = ...
easy_or_hard = ...
small_set = ...
contrastive = ...
### BEGIN SOLUTION
how_much_better = "By the difference under the table, in hard AUROC; its interval leaves out zero, so chance in the test molecules does not explain it."
worth_it = "Minutes where the frozen head took seconds: yes here, for it ranks far better, but a forest in seconds comes close to it."
easy_or_hard = "Both gain by about as much in AUROC: blocks that move learn which groups matter for binding, and either set asks for that."
small_set = "A million weights and a hundred labels: it learns the molecules by heart, and forgets what pretraining knew; a frozen encoder cannot."
contrastive = "Perhaps on hard negatives, since it asks for exactly that distance; a fair test gives both the same compute and several seeds."
### END SOLUTION

# %% coursekit="check 02.5"
ck.check("02.5", how_much_better, worth_it, easy_or_hard, small_set, contrastive)

# %% [markdown] coursekit="hint 02.5"
# The sentence under the table answers the first; its columns of cost help with the second.

# %% [markdown] coursekit="hint 02.5"
# For `small_set`, compare the number of weights that train with the number of labels.

# %% [markdown] coursekit="rubric 02.5"
# Two points each: one for an answer that fits the table (or, for the last two, that names a mechanism),
# one for its reason: an interval, a cost, what the blocks learn, memorizing against forgetting, what the
# contrastive objective asks for that cross-entropy does not.

# %% [markdown] coursekit="success 02.5"
# - Each answer has a reason, and a number where there is one.
# - I can say how forgetting differs from overfitting.
#
# "How would I tell forgetting from overfitting?"

# %% [markdown]
# ## Before you hand in
# Could you say each sentence of the success lists to a colleague? Ask your assistant what the checks
# suggest, and hold one claim of each answer against a source or your own numbers.
#
# **To go further:** make `lr` ten times larger, then ten times smaller: what does the curve look like?
# Next: lesson 03, where the blocks open one after the other.

# %%
ck.handin()
