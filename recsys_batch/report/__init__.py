"""What people look at: progress, the summary of a run, tables in the terminal. Knows no Spark and no torch."""
