"""Load, fault and conformance driving of a running server, through its wire protocol only."""
