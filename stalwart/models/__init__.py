"""Models: one file is one family. Pixels are in [0, 1]; normalisation is a layer of the model."""
