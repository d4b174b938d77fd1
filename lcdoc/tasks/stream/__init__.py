"""Reading a text without end: it is read as it comes, and told of again and again."""
