"""Sources: one file is one data set."""
