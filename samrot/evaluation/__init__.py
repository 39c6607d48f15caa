"""Floor 6: every method at every view of the data: recorded, scored and summarised."""
