"""A page on a run: what a workdir's stages have written, drawn and told."""
