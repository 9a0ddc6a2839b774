#!/usr/bin/env bash
# Makes .venv ready: system GL libraries (apt, when missing), Python packages, this project in editable mode.
# PYTHON=... chooses the interpreter; arguments are further Debian packages to install. Re-running is cheap:
# what is there is not installed again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$*"; exit 2; }

has_library() { ldconfig_list | grep -q "$1"; }
ldconfig_list() { { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null; }

missing_packages() {
    has_library 'libGL\.so\.1' || echo libgl1
    has_library 'libEGL\.so\.1' || echo libegl1
    # pyrender imports a window toolkit, which loads this even where no window is opened.
    has_library 'libXrender\.so\.1' || echo libxrender1
    # Software rendering needs Mesa's EGL and its drivers; a machine with NVIDIA's EGL needs neither.
    if ! has_library 'libEGL_nvidia\.so'; then
        has_library 'libEGL_mesa\.so' || echo libegl-mesa0
        has_mesa_driver || echo libgl1-mesa-dri
    fi
    if [ ! -x .venv/bin/python ] && ! has_venv "$python"; then echo python3-venv; fi
}

has_mesa_driver() {
    has_library 'libgallium' || compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null ||
        compgen -G '/usr/lib*/dri/swrast_dri.so' >/dev/null
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python3.14}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    stop "no Python >= 3.11 found${PYTHON:+ as PYTHON=$PYTHON}; install one (Debian: apt-get install python3 python3-venv)"
}

install_packages() {
    local command="apt-get install --no-install-recommends $*"
    command -v apt-get >/dev/null || stop "missing system libraries; Debian's packages are called: $*"
    [ "$(id -u)" = 0 ] || stop "missing system packages; ask an administrator to run: sudo $command"
    say "installing system packages: $*"
    local log
    log=$(mktemp)
    if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@"; } \
        >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        stop "apt-get failed; run: $command"
    fi
    rm -f "$log"
}

python=$(find_python)
mapfile -t packages < <(missing_packages; printf '%s\n' "$@" | sed '/^$/d')
if [ ${#packages[@]} -gt 0 ]; then install_packages "${packages[@]}"; fi

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "creating .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
pinned() { grep -oE "\"$1==[^\"]+\"" pyproject.toml | tr -d '"'; }

say "installing Python packages (a few minutes the first time)"
pip install "$(pinned torch)" "$(pinned torchvision)"
pip install -e '.[dev]'
touch .venv/.ready
say "ready"
