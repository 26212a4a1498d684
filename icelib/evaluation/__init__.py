"""What trained networks say of test images, and of images on the way: scores, metrics, intervals."""
