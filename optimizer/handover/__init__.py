"""The end of a run: the front, its other exports, and the bundles that a device gets."""
