"""Reading pickled arrays, as CIFAR's Python archives hold them, without running code from the file."""

import io
import pickle

import numpy as np

# What a pickled array of bytes needs; the module moved in numpy 2.
_ARRAYS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
_RECONSTRUCT = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}


class _Arrays(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in _RECONSTRUCT:
            return super().find_class(module, name)  # either name is known to numpy 2
        if (module, name) in _ARRAYS:
            return _ARRAYS[module, name]
        raise ValueError(f"the pickle asks for {module}.{name}; only numpy arrays and plain values are read")


def load(content):
    """Unpickle plain values and numpy arrays; text of Python 2 is taken as latin-1.

    Raises
    ------
    ValueError
        If the pickle is damaged or asks for anything else, which is then not called.
    """
    try:
        return _Arrays(io.BytesIO(content), encoding="latin1").load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(f"not a readable pickle: {error}") from error
