"""DetOFA's path filter (FACTS 4.7): which paths of a super-network are good for what they cost, learnt from a few.

A path is a row of genes, one index of a choice per slot of its space; populations are arrays (paths, slots).
"""
