"""The detector service: the only place where an image is decoded; it finds faces and cuts their crops."""
