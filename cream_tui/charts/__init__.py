"""Charts for the terminal: pure layout (series, scales, raster, plot) and thin widgets on Textual's Line API."""
