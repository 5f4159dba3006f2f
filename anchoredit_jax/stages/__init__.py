"""The stages of the curriculum: losses, gradients and updates, without files.

Each stage is one module, its parts described by `stage.Stage`; `table.py` lists them.
"""
