"""How good a detector is, and pages that say so."""
