"""Floor 3: pictures for a person to look at."""
