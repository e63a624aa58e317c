"""Data sets in the folders in which their publishers ship them; one file per family of layouts."""
