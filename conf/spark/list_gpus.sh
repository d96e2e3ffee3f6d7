#!/usr/bin/env bash
# Spark's discovery script: the positions of the GPUs among those that processes of this machine may use.
# Where CUDA_VISIBLE_DEVICES is set, torch numbers its entries from 0, and so does this.
set -euo pipefail
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
  count=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c '[^[:space:]]' || true)
else
  count=$(nvidia-smi --query-gpu=index --format=csv,noheader | wc -l)
fi
addresses=$(seq -s ',' 0 $((count - 1)) | sed 's/[0-9][0-9]*/"&"/g')
echo "{\"name\": \"gpu\", \"addresses\": [$addresses]}"
