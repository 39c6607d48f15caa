"""Floor 6: the training loop, its objectives, and its streams of views."""
