"""The kernels of lcdoc, one operation per folder. This file imports nothing: see pyproject.toml."""
