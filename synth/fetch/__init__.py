"""Pictures from outside, fetched once and checked."""
