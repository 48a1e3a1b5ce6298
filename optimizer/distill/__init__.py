"""What a teacher teaches: one file a distiller, and the training step that adds them to a detector's losses.

No imports here: `optimizer.distill.config` is read by the command line, which wakes no torch.
"""
