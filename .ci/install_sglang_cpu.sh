#!/usr/bin/env bash
# SGLang for the CPU into a virtual environment of its own, for the tests that need a real server:
#   install_sglang_cpu.sh DIR        (under a minute and 3 GB; does nothing where that version already runs)
# Its attention then is torch's own, and the one compiled operation it needs there is sglang_cpu_kernel.py beside this.
set -euo pipefail
version=0.5.23
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
dir=$1

runs() {
  [ -x "$dir/bin/python" ] && "$dir/bin/python" -c \
    "import torch, sgl_kernel, torchvision.io, importlib.metadata as m; assert m.version('sglang') == '$version'" 2>/dev/null
}

if runs; then
  echo "SGLang $version for the CPU is in $dir"
  exit 0
fi

installer=$(mktemp -d)
trap 'rm -rf "$installer"' EXIT
python3.11 -m venv "$installer"
"$installer/bin/pip" install -q uv
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS=$PIP_FIND_LINKS
"$installer/bin/uv" venv -q --clear --python 3.11 "$dir"
install=("$installer/bin/uv" pip install -q --python "$dir/bin/python")
"${install[@]}" --override "$here/cpu_overrides.txt" -r "$here/sglang_cpu_requirements.txt"
# Its own requirements ask for CUDA builds of everything.
"${install[@]}" --no-deps "sglang==$version" torchvision==0.29.2

# torchvision comes only for CUDA: declare the two operations that importing it looks for.
site=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
"$dir/bin/python" - "$site/torchvision/_meta_registrations.py" <<'PY'
import sys
from pathlib import Path

file = Path(sys.argv[1])
declare = '''for _name in ("nms", "qnms"):
    torch.library.define("torchvision::" + _name, "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
'''
text = file.read_text().replace(declare, "")
file.unlink()  # the installer's cache may share the file, which must stay as it is
file.write_text(text.replace("import torchvision.extension", declare + "import torchvision.extension", 1))
PY
mkdir -p "$site/sgl_kernel"
cp "$here/sglang_cpu_kernel.py" "$site/sgl_kernel/__init__.py"

# Compiled once here instead of inside the first server start; a file that does not compile is no reason to stop.
PYTHONDONTWRITEBYTECODE='' "$dir/bin/python" -m compileall -q -j 2 "$site" >/dev/null || true
runs || { echo "SGLang $version was installed in $dir but does not run" >&2; exit 1; }
