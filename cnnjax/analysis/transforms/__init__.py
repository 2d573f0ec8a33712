"""What moves images and maps: single transforms, finite families of them, and their derivatives."""
