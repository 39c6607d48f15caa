"""Whatever comes in: a result, or one documented error of one line.

``SAMROT_FUZZ=5000 python -m pytest tests/fuzz`` looks at that many new examples of each kind;
without it they are few, and the same each time.
"""
