"""Reading pickled arrays, as CIFAR's Python archives hold them, without running code from the file."""

import io
import pickle

# All that a pickled array needs; the module of `_reconstruct` moved in numpy 2.
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise ValueError(f"the pickle asks for {module}.{name}; only numpy arrays and plain values are read")
        return super().find_class(module, name)


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
