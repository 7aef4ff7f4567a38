"""Run tables, and the learning curves and grids pooled from them."""
