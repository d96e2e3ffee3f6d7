"""What one executor's Python process does: record batches in, record batches out. Knows no Spark."""
