"""`python -m lcdoc`."""

from lcdoc.cli import main

if __name__ == "__main__":
    main()
