"""What the columns of a file mean: one module a format, and one registry that knows them."""
