"""Layer 2: C4-equivariant network layers in plain torch."""
