"""One module a mesh format: what trimesh reads of it wrongly or not at all, in a form that it reads."""
