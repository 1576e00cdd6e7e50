#!/usr/bin/env bash
# What is measured on the markov model beside what is exactly true of it: truth.png (one run: budgets, votes, forced
# answers, extensions) and calibration.png, calibration.csv (500 runs: bias and coverage). Some minutes on one CPU core.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=${RUNS:-runs}/markov-truth
extrap-eval sample -m "$here/model.yaml" -b "$here/benchmark.yaml" --seeded 11 -o "$run" --quiet
extrap-eval probe "$run" --group-size 2 --replicates 4 --seeded 11 --quiet
extrap-eval probe "$run" --at budgets --replicates 2 --seeded 11 --quiet
extrap-eval force "$run" --extensions 4 --extension-tokens 100 --answers-after 0,1,2,3,4 --replicates 2 --seeded 11 --quiet
extrap-eval calibrate --run "$run" --figure "$here/truth.png"
extrap-eval calibrate --csv --figure "$here/calibration.png" > "$here/calibration.csv"
