"""What a report says of runs: reading the folders, words, sections, comparison."""
