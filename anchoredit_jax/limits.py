"""Bounds that hold in several rooms, some of which do without JAX."""

LONGEST = 4096  # characters of an instruction; more than 512 tokens of any language
