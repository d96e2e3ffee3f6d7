"""How the models become the shop's own: pure torch, on one CPU, one GPU or several processes; no Spark."""
