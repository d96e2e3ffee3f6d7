"""What the other packages agree on: columns, schemas, config, run identity and errors. Knows no Spark and no torch."""
