"""TIFF: read here, down to where the samples lie; Pillow only unpacks what is compressed."""
