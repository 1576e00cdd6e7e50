#!/usr/bin/env bash
# The gateways that people put before their servers, into a virtual environment of their own, for the tests:
#   install_gateways.sh DIR          (20 s and 350 MB; does nothing where they are)
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
dir=$1
gateways=(vllm-router==0.1.17 sglang-router==0.3.2 smg==1.13.0)

if [ -x "$dir/bin/vllm-router" ] && [ -x "$dir/bin/sglang-router" ] && [ -x "$dir/bin/smg" ]; then
  echo "the gateways are in $dir"
  exit 0
fi
python3.11 -m venv --clear "$dir"
"$dir/bin/pip" install -q "${gateways[@]}"
