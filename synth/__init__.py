"""Scenes, rendering and labels: from a mesh with named keypoints to a labelled data set."""
