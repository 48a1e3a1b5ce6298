"""Super-networks: many subnets on one set of weights, their training, and pools of them on disk.

No imports here: `config`, `elastic_config` and `catalogue` are read by the command line, which wakes no torch.
"""
