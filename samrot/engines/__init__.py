"""Layer 5: the loops (training, evaluation) and their tables and pictures."""
