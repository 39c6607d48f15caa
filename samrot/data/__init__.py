"""Floor 3: datasets and photos, read and validated once."""
