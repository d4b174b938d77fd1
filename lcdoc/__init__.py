"""lcdoc: ask anything of a document of any length, on your own machine."""
