"""Augmentations: one file is one random change of training images, batched."""
