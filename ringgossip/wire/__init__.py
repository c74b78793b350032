"""HOW it is said: the only room that touches bytes from strangers."""
