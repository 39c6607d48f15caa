"""Floor 2: frozen values that pass between the rooms: prompts, detections, segmentations."""
