"""RULER's kinds of tasks (arXiv 2404.06654), written anew from the paper: finding, tracing, counting, answering.

Texts, wording and prompts are lcdoc's own, so numbers are not those of the paper's own code to the point.
"""
