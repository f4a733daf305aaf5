#!/usr/bin/env bash
# Times the predictor on an NVIDIA GPU: `benchmarks/harness/gpu.sh [--json]`, on a bare machine with a CUDA
# driver, python3.11 and make. It makes an environment of its own (.venv-gpu), exports the whole of
# MiniLM at fp16 and fp32, and runs it through onnxruntime's CUDA provider, through its TensorRT
# provider where TensorRT is, and through PyTorch in half precision, beside each other.
# What is missing is said in one line, exit code 2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

missing() {
  echo "error: $1" >&2
  exit 2
}

python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || missing "$python is not on the PATH; install it, or set PYTHON"
command -v nvidia-smi >/dev/null || missing "no nvidia-smi; this needs a machine with an NVIDIA driver"
nvidia-smi >/dev/null || missing "nvidia-smi finds no GPU; is the driver loaded?"

venv=${VENV:-.venv-gpu}
if [[ ! -e "$venv/.installed" ]]; then
  echo "Installing into $venv, once ..." >&2
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --disable-pip-version-check -qq --constraint constraints.txt \
    --editable '.[gpu,triton,export]' || missing "the wheels could not be installed; see above"
  touch "$venv/.installed"
fi
# onnxruntime finds CUDA's and cuDNN's libraries in the wheels that torch brings along.
PYTHONPATH=benchmarks exec "$venv/bin/python" -m harness.gpu "$@"
