"""The config of every job: what a shop may set, with its defaults and limits. Knows no Spark, torch or table."""
