"""Named data sets as uint8 tensors, image folders, and the class-incremental streams made of them."""
