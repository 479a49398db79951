#!/usr/bin/env bash
# Runs tests under the kernels that other machines have: which ones OpenBLAS, torch and numpy take
# depends on the processor, and each rounds in its own way. `make test-kernels` calls it.
#
#   tools/test_kernels.sh "own baseline avx2 threads" tests/losses ...
#
# own       what this machine takes by itself
# baseline  the kernels of a processor without AVX2
# avx2      those of a processor with AVX2 and without AVX-512
# threads   two threads of BLAS and of torch instead of one
set -uo pipefail
settings=$1
shift
python=${TEST_PYTHON:-.venv/bin/python}
workers=${WORKERS:-2}

# numpy warns where a feature is switched off that the processor lacks: only those it found.
higher_features() {
  "$python" -c 'import numpy
print(",".join(numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", [])))'
}

variables_of() {
  case $1 in
    own) ;;
    baseline)
      echo "ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=Sandybridge"
      echo "NPY_DISABLE_CPU_FEATURES=$(higher_features)"
      ;;
    avx2) echo "ATEN_CPU_CAPABILITY=avx2 OPENBLAS_CORETYPE=Haswell" ;;
    threads) echo "OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2" ;;
    *)
      echo "unknown setting '$1': one of own, baseline, avx2, threads" >&2
      return 1
      ;;
  esac
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
summary=()
status=0
for setting in $settings; do
  variables=$(variables_of "$setting") || exit 2
  case $setting-$(uname -m) in
    baseline-x86_64 | baseline-amd64 | avx2-x86_64 | avx2-amd64 | own-* | threads-*) ;;
    *)
      summary+=("$setting: not run, these kernels are x86-64's and this is $(uname -m)")
      continue
      ;;
  esac
  echo "== $setting:" ${variables:-as it is}
  # shellcheck disable=SC2086 # several variables
  env $variables "$python" -m pytest -q -n "$workers" -m "not slow and not gpu" "$@" 2>&1 | tee "$log"
  passed=$?
  [ "$passed" -eq 0 ] || status=1
  summary+=("$setting: $(tail -n 1 "$log")")
done
echo
printf '%s\n' "${summary[@]}"
exit "$status"
