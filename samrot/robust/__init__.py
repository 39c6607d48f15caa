"""Floor 5: the way through (pose, transform, model, and back) and the objects around it."""
