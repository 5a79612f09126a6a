"""Sets with boxes, masks and keypoints, as they are published, and predictions as they are handed in."""
