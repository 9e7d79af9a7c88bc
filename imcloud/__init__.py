"""The wiring of imcloud: settings, servers, processes. Knows every app, decides nothing."""
