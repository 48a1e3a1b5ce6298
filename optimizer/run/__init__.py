"""One run: how it is planned, started, resumed, stopped and reported."""
