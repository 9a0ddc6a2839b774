"""Data sets of other tools, one file a format, all to and from synth.coco.KeypointDataset."""
