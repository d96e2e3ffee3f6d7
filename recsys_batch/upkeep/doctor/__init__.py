"""Whether a night can run here: facts of the driver and of every executor, checks over them, findings."""
