"""``pneumoseg prepare``: data sets to the training cache."""
