"""Floor 1: groups, poses, and the one change of frame."""
