"""Labels worth a second look, and what comes of changing them."""
