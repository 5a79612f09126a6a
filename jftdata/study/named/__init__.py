"""Studies by name: the paper's and those beyond it, on the built-in world or on the user's own sets."""
