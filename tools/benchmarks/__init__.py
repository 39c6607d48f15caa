"""What ``tools/benchmark.py`` compares: one file for each part of samrot."""
