# SPDX-License-Identifier: Apache-2.0
# Set-up for ./dev (sourced by it): Debian packages and a Python environment. Nothing is done twice.

packages=(g++ cmake ninja-build ccache git python3-venv libhwy-dev libtbb-dev libgtest-dev libbenchmark-dev librapidcheck-dev
  nlohmann-json3-dev libcli11-dev libsentencepiece-dev libicu-dev libjpeg-dev libpng-dev libfreetype-dev fonts-dejavu-core doxygen)

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'dev: %s\n' "$*" >&2; exit 1; }

# need_packages NAME...: installs those Debian packages that are missing, or says how to.
need_packages() {
  if ! command -v dpkg-query >/dev/null; then
    [ -n "${REGARD_SKIP_PACKAGES:-}" ] && return
    die "this is not a Debian or Ubuntu system. Needed: a C++20 compiler, cmake >= 3.25, ninja, git, Python >= 3.11 with venv," \
      "Highway >= 1.0, oneTBB, GoogleTest, Google Benchmark, rapidcheck. With these in place, say REGARD_SKIP_PACKAGES=1 ./dev ..."
  fi
  local name missing=()
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo -n)
    sudo -n true 2>/dev/null || die "some Debian packages are missing. Run this, then try again:"$'\n\n' \
      "   sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"$'\n'
  fi
  say "installing Debian packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -q
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# Sets $venv: a Python environment with exactly the versions of requirements.txt, shared by all checkouts with the same pins.
# It is built under another name, to which a link is made when all is there: an interrupted installation is never taken for
# a finished one, and scripts keep the paths that they were installed with.
need_python() {
  local python=${PYTHON:-python3} cache=${REGARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/regard} key lock quiet=()
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed ($python is $("$python" -V))"
  key=$({ cat "$root/requirements.txt"; "$python" -c 'import sys; print(sys.version, sys.base_prefix)'; } | sha256sum | cut -c1-16)
  venv=$cache/venv-$key
  [ -e "$venv" ] && return
  mkdir -p "$cache"
  exec {lock}>"$cache/lock"
  flock "$lock"  # another checkout may be installing the same
  if [ ! -e "$venv" ]; then
    [ -t 1 ] || quiet=(--quiet)
    say "Python environment: $venv"
    rm -rf "$venv.files"
    "$python" -m venv "$venv.files"
    install_torch "$venv.files/bin/python"
    say "installing the other Python packages"
    "$venv.files/bin/python" -m pip install "${quiet[@]}" --no-deps -r "$root/requirements.txt"
    ln -sfn "$(basename "$venv").files" "$venv"
  fi
  exec {lock}>&-
}

# PyPI's torch for Linux on x86 brings several GB of CUDA: where pip's own sources do not offer a CPU build, PyTorch's index does.
install_torch() {
  local pip=("$1" -m pip) torch offered
  torch=$(grep '^torch==' "$root/requirements.txt")
  offered=$("${pip[@]}" install --dry-run --no-deps "$torch" 2>/dev/null | grep 'Would install' || true)
  say "installing $torch (some 200 MB)"
  if [[ $offered != *+cpu* ]]; then
    "${pip[@]}" install "${quiet[@]}" --timeout 15 --retries 1 --index-url https://download.pytorch.org/whl/cpu "$torch" && return
    say "no CPU build at hand: taking what pip offers"
  fi
  "${pip[@]}" install "${quiet[@]}" -c "$root/requirements.txt" "$torch"
}
