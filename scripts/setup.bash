# Sourced by scripts/test and scripts/demo. Makes the project's own environment from nothing but Python 3.11 or newer
# (with venv and pip) and git; does nothing where it is up to date. Everything is installed from uv.lock, by hash.

PYTHON_OLDEST=3.11
UV_OLDEST=0.7.0
UV_PINNED=0.13.8

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# python_fits PYTHON VERSION_TEST: whether PYTHON starts, and its version passes the test.
python_fits() {
    "$1" -c "import sys; v = sys.version_info[:2]; sys.exit(not ($2))" >/dev/null 2>&1
}

# find_python VERSION_TEST: the first fitting Python that can make environments. Starts each candidate, as a name on PATH may be a broken shim.
find_python() {
    local candidate
    for candidate in "${HOLDFAST_PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python; do
        if [[ -n "$candidate" ]] && python_fits "$candidate" "$1" \
            && "$candidate" -c "import ensurepip, venv" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# find_uv: a uv that is new enough: the one on PATH, else one of our own, installed into .venv by pip.
find_uv() {
    local found older
    if found=$(uv --version 2>/dev/null); then
        older=$(printf '%s\n' "$UV_OLDEST" "$(cut -d' ' -f2 <<<"$found")" | sort -V | head -n 1)
        [[ "$older" == "$UV_OLDEST" ]] && { echo uv; return; }
    fi
    if [[ ! -x .venv/bin/uv ]]; then
        .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip --upgrade >/dev/null
        .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_PINNED" >&2 \
            || fail "pip could not install uv into .venv; look at pip's message above, then run this again"
    fi
    echo .venv/bin/uv
}

# fingerprint: of all that decides what an environment holds.
fingerprint() {
    "$1/bin/python" -c 'import hashlib, pathlib, sys
texts = [pathlib.Path(name).read_bytes() for name in ("pyproject.toml", "uv.lock")]
print(hashlib.sha256(b"".join([*texts, sys.version.encode(), sys.prefix.encode()])).hexdigest())'
}

# make_environment VENV VERSION_TEST: a virtual environment whose Python passes the test; one that does stays as it is.
make_environment() {
    python_fits "$1/bin/python" "$2" && return
    local python
    python=$(find_python "$2") || return 1
    say "making $1 with $("$python" --version)"
    rm -rf "$1"
    "$python" -m venv "$1" || fail "$python could not make a virtual environment in $1; is its venv module complete?"
}

# sync UV VENV OPTIONS...: what uv.lock names, into VENV.
sync() {
    local uv=$1 venv=$2
    shift 2
    env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT="$venv" UV_PYTHON_DOWNLOADS=never \
        "$uv" sync --python "$venv/bin/python" "$@"
}

# install VENV PURPOSE: the locked packages for PURPOSE, "demo" or "test" (which holds all of demo). What somebody put
# there besides stays.
install() {
    local stamp="$1/.holdfast-installed" wanted uv options=(--locked --inexact --quiet --extra encryption --extra sre)
    wanted=$(fingerprint "$1")
    if [[ -x "$1/bin/holdfast" && -f "$stamp" ]] && grep -qE "^$wanted (test|$2)$" "$stamp"; then
        return
    fi
    if [[ "$2" == demo ]]; then
        options+=(--no-default-groups)
    else
        options+=(--extra postgres --extra redis --extra celery --extra langgraph --extra pydantic-ai)
    fi
    uv=$(find_uv)
    say "installing the locked packages into $1"
    rm -f "$stamp"
    if ! sync "$uv" "$1" "${options[@]}"; then
        # Behind a proxy with a certificate of its own, pip gets through and uv does not, until it is told where to look.
        say "that failed; once more, with the certificates of the system"
        UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 sync "$uv" "$1" "${options[@]}" \
            || fail "uv could not install what uv.lock names; if pyproject.toml was edited, run 'uv lock' first"
    fi
    echo "$wanted $2" >"$stamp"
}

# set_up PURPOSE: the project's main environment, .venv.
set_up() {
    make_environment .venv "v >= (${PYTHON_OLDEST/./, })" || fail "no Python found: expected Python $PYTHON_OLDEST" \
        "or newer with the modules venv and ensurepip on PATH; install one, or name it in HOLDFAST_PYTHON"
    install .venv "$1"
}
