"""Layer 1: groups (algebra) and their exact actions on images, points, boxes, masks and RLEs."""
