"""Parts of ``tools/study.py``."""
