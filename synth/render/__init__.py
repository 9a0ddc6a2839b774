"""A scene becomes arrays: colour, depth and instance ids."""
