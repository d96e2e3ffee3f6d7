"""A bilingual demo shop of any size with known tastes and planted faults; knows nothing of the pipeline that reads it."""
