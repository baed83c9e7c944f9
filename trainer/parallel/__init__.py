"""One process or many: ranks, meshes, sums over ranks, and preparing a model for them."""
