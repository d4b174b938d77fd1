"""Measuring speed and memory, beside stock transformers."""
