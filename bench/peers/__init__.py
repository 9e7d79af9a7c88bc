"""imcloud beside other instant-messaging servers: the same load, the same database, one run."""
