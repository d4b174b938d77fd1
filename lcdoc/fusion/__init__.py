"""Reading a document in parts: what bears on a question is found in each, and put together again."""
