"""How well and how safely somebody drives."""
