"""Training both networks, calibrating them and making a bundle (extra ``train``)."""
