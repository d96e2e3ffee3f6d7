"""Examples as training reads them: columns, files, token batches, hard negatives.

Knows no model and no loop.
"""
