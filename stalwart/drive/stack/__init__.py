"""A small stack with a camera: what it perceives, how it keeps its distance, what it doubts. A
`sensing.SensorPolicy`."""
