"""One process or many: ranks, meshes, sums over ranks, and a model made ready for them."""
