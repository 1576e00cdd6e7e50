from __future__ import annotations

from tests.prompts.conftest import qwen, qwen_folder, r1, r1_folder

__all__ = ["qwen", "qwen_folder", "r1", "r1_folder"]
