"""Layer 3: images, COCO-format datasets, training photos, procedural scenes."""
