"""What everything-mode keeps by default, by segmenter: predicted IoUs are not those of ViT-H."""

# Segmenter -> arguments of SamAutomaticMaskGenerator; the others take its own defaults.
# sam_mini: by tools/calibrate_everything.py, on 20 training photos kept aside, 64 clicks each.
EVERYTHING_THRESHOLDS = {
    "sam_mini": {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.6},
}
