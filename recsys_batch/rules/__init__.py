"""Rules as pure functions: text, ids, blending, reranking, reasons, metrics. Knows no Spark and no torch."""
