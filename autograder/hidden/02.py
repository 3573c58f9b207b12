"""Hidden checks of lesson 02; how such a file is read stands in 00.py."""

import numpy as np

from coursekit.checks import CannotCheck, Wrong, expect
from coursekit.checks.lesson_02 import STEPS, WIDTH, _batch
from coursekit.grading.held_against import begins_fresh, different, stays_frozen, trained


def _loss_at(vectors, weight, bias):
    """Mean binary cross-entropy of the public check's batch under these weights."""
    ids, mask, labels = (x.numpy() for x in _batch())
    pooled = (vectors[ids] * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    logits = pooled @ weight + bias
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))


def check_02_1(build, training_step, losses):
    """The loss that a step returns is that of the weights it began with; a real loop scatters."""
    weights = np.asarray(training_step["weights"], dtype=float)
    start = np.concatenate([np.sin(np.linspace(-1, 1, 5 * WIDTH)), [0.5, -0.25, 1.0, 0.0]])
    right = [
        _loss_at(w[: 5 * WIDTH].reshape(5, WIDTH), w[5 * WIDTH : -1], w[-1])
        for w in [start, *weights[: STEPS - 1]]
    ]
    told = np.asarray(training_step["losses"], dtype=float).ravel()
    if told.shape != (STEPS,) or not np.allclose(told, right, atol=1e-3):
        raise Wrong("`training_step` returns another number than its batch's loss.", share=0.7)
    values = expect.numbers("losses", losses).ravel()
    if (values <= 0).any() or not 0.1 < values[0] < 3:
        raise Wrong("`losses` cannot come from a new head and this loss.", share=0.7)
    if len(values) > 5 and np.abs(np.diff(values, 2)).max() < 1e-3 * np.ptp(values):
        raise CannotCheck("`losses` lie on a smooth curve; batches differ")


def check_02_2(fine_tuned):
    """Everything trained, from pretrained weights."""
    begins_fresh("fine_tuned", fine_tuned)
    groups = trained(fine_tuned)
    blocks = {group for group in groups if group.startswith("block.")}
    if not {"head", "embeddings"} <= groups or len(blocks) < 2:
        raise Wrong("By its phases `fine_tuned` trained a part of the model.", share=0.2)


def check_02_4(frozen, fine_tuned, table):
    """The frozen run is frozen, and another run than the fine-tuned one."""
    stays_frozen("frozen", frozen)
    different(frozen=frozen, fine_tuned=fine_tuned)
