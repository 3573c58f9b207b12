"""Encoders with a head: the tokenizer, the blocks of any encoder, the classifier, pretraining."""

from coursekit.models.classifier import Classifier
from coursekit.models.hub import load_classifier
from coursekit.models.masked_head import masked_token_loss

__all__ = ["Classifier", "load_classifier", "masked_token_loss"]
