"""Data: images of any kind, procedural editing sessions, batches by step.

`images` decodes what a person has, `sprites` holds the procedural sessions, `batches`
makes the training batches. Import from those: this room loads none of them by itself,
so that editing an image needs no data pipeline.
"""
