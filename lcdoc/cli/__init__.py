"""The command line."""


def main() -> None:
    """The `lcdoc` command."""
    import sys

    from lcdoc.cli.app import app
    from lcdoc.cli.exits import run

    sys.exit(run(lambda: app(standalone_mode=False, prog_name="lcdoc")))
