"""A bilingual demo shop of any size, with known tastes and planted faults; knows no pipeline that reads it."""
