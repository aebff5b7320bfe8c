"""Named data sets and image folders as uint8 tensors, and class-incremental streams of them."""
