"""What documents have left in a model's cache, kept on disk block by block, so that they need not be read again."""
