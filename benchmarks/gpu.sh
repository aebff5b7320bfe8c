#!/usr/bin/env bash
# One call's worth of the GPU measurements, on a machine that may have no network: installs what it is given, goes on
# where the last call stopped (what is measured stands in benchmarks/results), and says what is left.
#   WHEELS=FOLDER OUT=FOLDER benchmarks/gpu.sh [CIFAR10] --tiny-imagenet ROOT [--mnist ROOT] [--only PART ...]
# WHEELS: wheels of the dependencies that the machine lacks, setuptools, pytest and pytest-xdist among them. OUT: gets a copy of
# benchmarks/results and docs/images; put both back into the checkout before the next call.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if [[ -n ${WHEELS:-} ]]; then
  "$python" -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl
fi
"$python" -c 'import iid_cl.strategies' 2>/dev/null ||
  "$python" -m pip install --quiet --no-deps --no-build-isolation --editable .
keep() {
  [[ -n ${OUT:-} ]] || return 0
  mkdir -p "$OUT/benchmarks" "$OUT/docs"
  cp -r benchmarks/results "$OUT/benchmarks/"
  cp -r docs/images "$OUT/docs/"
}
while sleep 15; do keep; done & # a call that is cut off keeps its finished cells
trap 'kill %1; keep' EXIT
"$python" -m benchmarks.gpu --minutes 9 "$@"
