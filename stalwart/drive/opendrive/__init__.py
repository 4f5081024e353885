"""Maps in ASAM OpenDRIVE, as far as lanes go: records of the file, the reference line, lanes, signals."""
