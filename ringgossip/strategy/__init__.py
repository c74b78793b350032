"""WHOM, and WHICH FIRST: plain functions and small structures, given state and randomness."""
