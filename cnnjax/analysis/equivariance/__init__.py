"""What moves along as images are transformed, by how much it fails to, and which layer is to blame."""
