"""What a student costs compared with its base: measured latency, or operations."""
