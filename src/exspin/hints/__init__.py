"""Schema hints: what of a database a question needs.

`values`: the cells that a question mentions. The place for linking too (the tables and columns a question is about) and for
shots (similar solved questions).
"""
