"""Which heads of a model need the whole document: found on the user's own machine, or imported."""
