#!/usr/bin/env bash
# Everything in this folder, measured anew: two models on 60 problems that they never saw, 32 samples each, probes and
# forced "Wait" on the first four of them. Three hours on two CPU cores, half of that with vLLM:
#   results/reference_model/make.sh --engine vllm --engine-python VLLM_ENVIRONMENT/bin/python
# Arguments go to every command that samples; runs are kept in $RUNS (default: runs) and go on where they were.
# $MODELS (default: the shipped cards) may name other cards: one whose hf_id is the folder of weights just trained.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
runs=${RUNS:-runs}
if [ $# = 0 ]; then set -- --engine local; fi

paths=()
for model in ${MODELS:-residue-explorer residue-stopper}; do
    name=$(basename "$model" .yaml)
    run=$runs/$name
    paths+=("$run")
    extrap-eval sample -m "$model" -b residue_search --n 32 -o "$run" "$@"
    extrap-eval probe "$run" --n 4 --replicates 4 --groups 5 --answer-tokens 64 \
        --figure "$here/probes_${name#residue-}.png" "$@"
    extrap-eval force "$run" --n 4 --replicates 2 --extensions 3 --answers-after 0,1,2,3 --extension-tokens 512 \
        --thinking-tokens 4096 --answer-tokens 256 --audit-figure "$here/wait_${name#residue-}.png" "$@"
    extrap-eval plot "$run" --figure outcomes -o "$here/outcomes_${name#residue-}.png"
    extrap-eval logprobs "$run" --n 8 --logprobs 20 --figure "$here/entropy_${name#residue-}.png" "$@"
    # Asked in the models' own words, since they know no others.
    extrap-eval verify "$run" --mode thought --text 'Wait, check {answer}.' --yes 'Good\.\n\n' --no 'need \d+\.\n\n' \
        --pick first --answer-tokens 96 --figure "$here/verify_${name#residue-}.png" "$@"
    extrap-eval replace "$run" --n 2 --positions 2 --replicates 2 --answer-tokens 1024 \
        --figure "$here/replace_${name#residue-}.png" "$@"
done
extrap-eval table "${paths[@]}" --csv > "$here/table.csv"
extrap-eval plot "${paths[@]}" -o "$here/budget.png"
extrap-eval plot "${paths[@]}" --figure forcing -o "$here/forcing.png"
extrap-eval compare "${paths[@]}" --figure "$here/difference.png"
extrap-eval unsolvable "${paths[@]}" --k 8 --budget 512 --figure "$here/unsolvable.png"
extrap-eval diversity "${paths[@]}" --figure "$here/diversity.png"
extrap-eval attempts "${paths[@]}" --figure "$here/attempts.png"
extrap-eval attempts "${paths[0]}" --unit candidates --grid "$here/attempts_grid.png"
extrap-eval quality "${paths[@]}" --csv --figure "$here/quality.png" > "$here/quality.csv"
extrap-eval lengths "${paths[@]}" --csv --figure "$here/lengths.png" > "$here/lengths.csv"
extrap-eval plot "${paths[0]}" --figure passk -o "$here/passk.png"
