"""From files to batches: safe decoding, splits, augmentation, memory and streaming loaders."""
