"""Label formats, a file each."""
