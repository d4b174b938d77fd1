"""Which heads of a model need the whole document, and how it reads beyond its window: found here, or imported."""
