"""The detector's toolchain: composites, training, export and evaluation of a YOLO with seven expression classes."""
