"""Many images of one job, in order and resumably."""
