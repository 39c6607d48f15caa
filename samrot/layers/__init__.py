"""Floor 3: network layers."""
