"""Labelled images on disk, in our format and others'. Renders nothing."""
