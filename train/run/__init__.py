"""Training runs: steps, snapshots, sweeps."""
