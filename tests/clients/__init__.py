"""The calls of programs written for segment-anything."""
