"""What can be learned, one task a file; see `recsys_batch.training.loop.task`."""
