"""Which heads of a model need the whole document, and how its positions go beyond its window: found here, or imported."""
