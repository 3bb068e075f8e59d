"""A family that Easel does not have: PixArt-Sigma, written as a product family would be."""
