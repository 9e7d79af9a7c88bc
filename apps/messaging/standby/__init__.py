"""A SET's second database: kept up with the first, taken in its place, compared with it and mended."""
