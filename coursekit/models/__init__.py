"""Encoders with a head: the tokenizer, the blocks of any encoder, the classifier, pretraining."""

from coursekit.models.classifier import Classifier, load_classifier

__all__ = ["Classifier", "load_classifier"]
