"""Closed-form item models: NumPy and SciPy on one machine."""

import numpy as np
import numpy.typing as npt
from scipy import sparse


def ease_weights(matrix_UI: sparse.csr_array, l2: float) -> npt.NDArray[np.float64]:
    """Return the weights (I, I) of the linear model without self-similarity, row of the item -> column of the other.

    Steck, 2019, "Embarrassingly Shallow Autoencoders". Time grows with the cube of the number of items, memory with its
    square.
    """
    gram_II = (matrix_UI.T @ matrix_UI).toarray()
    gram_II[np.diag_indices_from(gram_II)] += l2
    inverse_II = np.linalg.inv(gram_II)
    weights_II = inverse_II / -np.diag(inverse_II)
    np.fill_diagonal(weights_II, 0.0)
    return np.asarray(weights_II)


def largest_of_rows(weights_II: npt.NDArray[np.float64], number: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Return rows and columns of the `number` weights of each row that are farthest from 0, ties by column."""
    number = min(number, weights_II.shape[1])
    columns_IN = np.argsort(-np.abs(weights_II), axis=1, kind="stable")[:, :number]
    rows = np.repeat(np.arange(len(weights_II)), number)
    columns = columns_IN.reshape(-1).astype(np.int64)
    kept = weights_II[rows, columns] != 0
    return rows[kept], columns[kept]
