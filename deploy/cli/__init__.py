"""The command `deploy`: its options, what each command does, and what the terminal shows."""
