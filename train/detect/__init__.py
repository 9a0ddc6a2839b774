"""Using a detector: on pictures, as an exported file, for poses, for first labels."""
