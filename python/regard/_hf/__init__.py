"""What regard.transformers is made of."""
