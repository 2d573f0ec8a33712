"""What every measurement begins with: images, layers and units by name, batches, one compilation for networks alike."""
