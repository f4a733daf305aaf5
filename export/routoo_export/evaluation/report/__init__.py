"""What an evaluation looks like: plots, one self-contained page, tables for the documents."""
