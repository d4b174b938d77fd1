"""Measuring quality: what is still found in a document, beside stock transformers."""
