"""How throughput and cost grow with nodes, with connections and with what is stored."""
