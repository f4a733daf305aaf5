"""Reports of an evaluation: plots, one self-contained page, tables for the documents."""
