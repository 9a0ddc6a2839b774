"""Object folders: object.yaml and meshes become an ObjectAsset."""
