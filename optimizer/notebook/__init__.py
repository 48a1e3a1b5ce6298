"""A run in a notebook: its front as a chart and a table, its students as detectors, its progress while it goes on."""

from optimizer.notebook.front import Front, Student, open_front
from optimizer.notebook.live import NotebookProgress, choose_progress, is_notebook

__all__ = ["Front", "NotebookProgress", "Student", "choose_progress", "is_notebook", "open_front"]
