"""Runs in an engine's own environment: what its own parser makes of our commands.

``python parse_arguments.py vllm|sglang`` reads a JSON list of command lines (the words after ``serve``, or after the
module) on stdin and prints a JSON list of what was understood: option -> value, or ``{"refused": words}``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Callable
from typing import Any

Parse = Callable[[list[str]], dict[str, Any]]


def vllm() -> Parse:
    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    except ImportError:  # where it was before
        from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())

    def parse(words: list[str]) -> dict[str, Any]:
        found = parser.parse_args(words)
        validate_parsed_serve_args(found)
        return vars(found)

    return parse


def sglang() -> Parse:
    from sglang.srt.server_args import ServerArgs

    try:
        from sglang.srt.utils.server_args_config_parser import ConfigArgumentMerger
    except ImportError:  # where it was before
        from sglang.srt.server_args_config_parser import ConfigArgumentMerger

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)

    def parse(words: list[str]) -> dict[str, Any]:
        return vars(parser.parse_args(ConfigArgumentMerger(parser).merge_config_with_args(words)))

    return parse


def attempt(parse: Parse, words: list[str]) -> dict[str, Any]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(words)
    except SystemExit:
        return {"refused": said.getvalue()}


if __name__ == "__main__":
    parse = {"vllm": vllm, "sglang": sglang}[sys.argv[1]]()
    print("understood:" + json.dumps([attempt(parse, words) for words in json.load(sys.stdin)], default=str))
