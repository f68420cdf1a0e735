"""SQL: reading schemas, taking the statement out of model text, running it guarded, comparing results.

No torch here, and `execute`'s worker process loads nothing but the standard library.
"""
