"""An answer held against its documents: quotes, figures, names and page numbers, each with where it stands."""
