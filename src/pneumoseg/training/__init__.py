"""Preparing data, training both networks, calibrating and making a bundle (extra ``train``)."""
