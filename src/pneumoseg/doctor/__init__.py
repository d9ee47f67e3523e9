"""``pneumoseg doctor`` and ``validate``: is the data set, is the CSV in order?"""
