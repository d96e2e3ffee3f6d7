"""The one machine of learning: sampling, steps, optimizers, checkpoints, progress, several processes.

Knows tasks by their protocol alone.
"""
