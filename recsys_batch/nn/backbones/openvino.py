"""The network of a model directory run by OpenVINO (extra `cpu`), converted in the process from the torch model.

For padded batches on the CPU; the tensors that OpenVINO is given and gives share memory with torch's. With int8 weights
(`openvino_int8`) the rest is in the settings' dtype: in bfloat16 the activations too, in float32 they are rounded to
int8 as they come (each 32 of a token by their own scale), which is where its kernels become faster.
"""

import importlib.util
import threading
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recsys_batch.contracts.errors import ConfigError, ModelFilesError
from recsys_batch.nn.backbones.int8_weights import compress_weights
from recsys_batch.nn.backbones.padded import PaddedTransformer, pad

_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
# Activations that share a scale; 0: they stay floats. Only for int8 weights, and not left to OpenVINO's own default, so
# that another version of it gives the same vectors.
_ACTIVATION_GROUPS = {torch.float32: 32, torch.bfloat16: 0}


class _States(nn.Module):
    """The network with nothing but tensors going in and out, as the conversion needs it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        states_BLH: Tensor = self.model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        return states_BLH


class OpenVinoTransformer:
    """Any network that transformers loads and OpenVINO converts: one request a thread, one stream a core."""

    pads = True

    def __init__(self, path: Path, device: str, dtype: torch.dtype, *, int8: bool = False) -> None:
        """Load, convert and compile, with weights in int8 where `int8` is set; takes some seconds.

        Raises ConfigError without the package, on another device than the CPU, or for a dtype that it does not run;
        ModelFilesError where the network does not load or does not convert.
        """
        backend = "openvino_int8" if int8 else "openvino"
        if importlib.util.find_spec("openvino") is None:
            raise ConfigError(f"encoder.backend {backend}: the package is not installed; pip install recsys-batch[cpu]")
        if device != "cpu" or dtype not in _PRECISIONS:
            raise ConfigError(
                f"encoder.backend {backend} runs float32 and bfloat16 on the CPU, not {dtype} on {device}; "
                "set encoder.backend to torch"
            )
        source = PaddedTransformer(path, "cpu", torch.float32)
        self.dim, self.max_positions = source.dim, source.max_positions
        self.linear_shapes, self.count_flops = source.linear_shapes, source.count_flops
        self._pad_id = int(getattr(source.model.config, "pad_token_id", None) or 0)
        self._compiled = _compile(source.model, path, dtype, int8)
        self._requests = threading.local()

    def hidden(self, ids_T: Tensor, lengths_B: Tensor, padded_length: int) -> Tensor:
        """Pad to (B, padded_length), run the network, and return only the states of real tokens."""
        ids_BL, mask_BL = pad(ids_T, lengths_B, padded_length, self._pad_id)
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        results = self._requests.own.infer([ids_BL.numpy(), mask_BL.long().numpy()], share_inputs=True)
        states_TH: Tensor = torch.from_numpy(results[0])[mask_BL]
        return states_TH


def _compile(model: Any, path: Path, dtype: torch.dtype, int8: bool) -> Any:
    import openvino  # type: ignore[import-untyped,unused-ignore]

    example = torch.ones(2, 8, dtype=torch.int64)
    num_threads = torch.get_num_threads()
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[dtype],
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": num_threads,
    }
    if int8:
        options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _ACTIVATION_GROUPS[dtype]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, about branches that no shape of ours takes
        try:
            converted = openvino.convert_model(_States(model), example_input=(example, example))
            converted.reshape({0: [-1, -1], 1: [-1, -1]})
            if int8:
                compress_weights(converted)
            return openvino.Core().compile_model(converted, "CPU", options)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelFilesError(
                f"OpenVINO cannot convert the model in {path} ({reason}); set encoder.backend to torch"
            ) from error
