"""Training, evaluation on real photos and prediction with Keypoint R-CNN."""
