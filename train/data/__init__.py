"""Labels become batches."""
