"""Super-networks: the elastic teacher pool of Joint-DetNAS, trained by progressive shrinking.

No imports here: `optimizer.supernet.config` is read by the command line, which wakes no torch.
"""
