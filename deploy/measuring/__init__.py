"""How latency is measured: protocols, clocks, leases, what the device was like meanwhile, and the record of it all."""
