"""The command line."""

# Objects made between two collections of garbage. Importing torch and transformers makes hundreds of thousands that
# all stay; at Python's own 700 a fifth of the start went into looking through them again and again.
GC_THRESHOLD = 100_000


def main() -> None:
    """The `lcdoc` command."""
    import gc
    import sys

    gc.set_threshold(GC_THRESHOLD)
    from lcdoc.cli.app import app
    from lcdoc.cli.exits import run

    sys.exit(run(lambda: app(standalone_mode=False, prog_name="lcdoc")))
