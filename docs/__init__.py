"""The pages of the documentation, and in `making/` what writes some of them."""
