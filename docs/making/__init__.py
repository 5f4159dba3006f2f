"""What the documentation takes from the code: two reference pages and a picture.

`python docs/make.py` writes them; tests/test_docs_made.py compares the pages that are
committed with fresh ones.
"""
