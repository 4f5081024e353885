"""What lies on disk: checkpoints without pickle, run folders, event logs."""
