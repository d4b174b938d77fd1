"""Summarizing documents of any length: at once where they fit, else part by part."""
