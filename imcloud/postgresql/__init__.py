"""Django's PostgreSQL backend, for databases that may be away for a while: see `base`."""
