"""Calibrated cameras: what is known of one, and the files that say it, one module a family of files."""
