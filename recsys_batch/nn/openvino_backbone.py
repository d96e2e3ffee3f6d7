"""The network of a model directory run by OpenVINO (extra `cpu`), converted in the process from the torch model.

For padded batches on the CPU; the tensors that OpenVINO is given and gives share memory with torch's.
"""

import importlib.util
import threading
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recsys_batch.contracts.errors import ConfigError, ModelFilesError
from recsys_batch.nn.backbone import PaddedTransformer, pad

_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


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

    def __init__(self, path: Path, device: str, dtype: torch.dtype) -> None:
        """Load, convert and compile; takes some seconds.

        Raises ConfigError without the package, on another device than the CPU, or for a dtype that it does not run;
        ModelFilesError where the network does not load or does not convert.
        """
        if importlib.util.find_spec("openvino") is None:
            raise ConfigError("encoder.backend openvino: the package is not installed; pip install recsys-batch[cpu]")
        if device != "cpu" or dtype not in _PRECISIONS:
            raise ConfigError(
                f"encoder.backend openvino runs float32 and bfloat16 on the CPU, not {dtype} on {device}; "
                "set encoder.backend to torch"
            )
        source = PaddedTransformer(path, "cpu", torch.float32)
        self.dim, self.max_positions = source.dim, source.max_positions
        self.linear_shapes, self.count_flops = source.linear_shapes, source.count_flops
        self._pad_id = int(getattr(source.model.config, "pad_token_id", None) or 0)
        self._compiled = _compile(source.model, path, _PRECISIONS[dtype], torch.get_num_threads())
        self._requests = threading.local()

    def hidden(self, ids_T: Tensor, lengths_B: Tensor, padded_length: int) -> Tensor:
        """Pad to (B, padded_length), run the network, and return only the states of real tokens."""
        ids_BL, mask_BL = pad(ids_T, lengths_B, padded_length, self._pad_id)
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        results = self._requests.own.infer([ids_BL.numpy(), mask_BL.long().numpy()], share_inputs=True)
        states_TH: Tensor = torch.from_numpy(results[0])[mask_BL]
        return states_TH


def _compile(model: Any, path: Path, precision: str, num_threads: int) -> Any:
    import openvino  # type: ignore[import-untyped,unused-ignore]

    example = torch.ones(2, 8, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, about branches that no shape of ours takes
        try:
            converted = openvino.convert_model(_States(model), example_input=(example, example))
            converted.reshape({0: [-1, -1], 1: [-1, -1]})
            return openvino.Core().compile_model(
                converted,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": precision,
                    "INFERENCE_NUM_THREADS": num_threads,
                    "NUM_STREAMS": num_threads,
                },
            )
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelFilesError(
                f"OpenVINO cannot convert the model in {path} ({reason}); set encoder.backend to torch"
            ) from error
