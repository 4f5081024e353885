"""What a car senses of a scene."""
