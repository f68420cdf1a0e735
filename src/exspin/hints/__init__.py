"""Schema hints: what of a database a question needs.

The place for linking (the tables and columns a question is about), values (cells the question mentions) and shots
(similar solved questions). Nothing lives here yet; prompts show the whole schema until it does.
"""
