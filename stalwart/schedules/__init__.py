"""Learning-rate schedules over a training's progress."""
