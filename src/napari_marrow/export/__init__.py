"""Results in other programs' formats, and simulated images as a microscope would leave them."""
