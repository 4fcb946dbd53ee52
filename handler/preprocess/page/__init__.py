"""Analysis of a page's pixels: ink, inversion, orientation, and division in strips."""
