"""`report.html` and the terminal's table."""
