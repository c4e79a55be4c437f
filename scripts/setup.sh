#!/usr/bin/env bash
# Prepares a fresh checkout on Debian 12, Debian 13 or Ubuntu 24.04 (x86_64 or
# aarch64): system packages, then ONNX Runtime under .heatcast/onnxruntime.
# Safe to run again: it does, and says, only what is still missing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly RUST_MINIMUM=1.92
readonly ORT_VERSION=1.32.0
readonly ORT_DIR=.heatcast/onnxruntime
readonly PACKAGES=(
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    gstreamer1.0-libav gstreamer1.0-tools
    ffmpeg python3 python3-pip python3-venv
    pkg-config gcc libc6-dev make ca-certificates
)

say() { printf 'setup: %s\n' "$*"; }
# One sentence, then lines that may be copied.
die() {
    printf 'setup: %s\n' "$1" >&2
    (($# == 1)) || printf '%s\n' "${@:2}" >&2
    exit 1
}

check_rust() {
    local how=(
        "Get it from https://rustup.rs, or on Debian 13 and Ubuntu 24.04:"
        "    apt-get install rustup && rustup default stable"
        "then open a new shell and run this script again."
    )
    command -v cargo >/dev/null && command -v rustc >/dev/null ||
        die "Rust $RUST_MINIMUM or newer is needed; cargo or rustc is not on the PATH." "${how[@]}"
    local found
    # Empty where rustc is a rustup shim without a toolchain.
    found=$(rustc --version 2>/dev/null | awk '{print $2}') || found=
    if [[ -z $found ]]; then
        die "rustc does not run: no toolchain is chosen." "${how[@]}"
    fi
    if [[ $(printf '%s\n' "$RUST_MINIMUM" "$found" | sort -V | head -n 1) != "$RUST_MINIMUM" ]]; then
        die "Rust $RUST_MINIMUM or newer is needed; this is $found." "${how[@]}"
    fi
}

check_machine() {
    # HEATCAST_ARCH fetches ONNX Runtime for another machine.
    arch=${HEATCAST_ARCH:-$(uname -m)}
    case $arch in
        x86_64) ort_sha256=99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8 ;;
        aarch64) ort_sha256=e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054 ;;
        *) die "No ONNX Runtime is pinned for $arch (x86_64 and aarch64 are)." ;;
    esac
}

# Elsewhere than on Debian and Ubuntu, packages have other names.
check_other_system() {
    pkg-config --exists 'gstreamer-app-1.0 >= 1.22' 'gstreamer-video-1.0 >= 1.22' 2>/dev/null &&
        python3 -m pip --version >/dev/null 2>&1 && command -v ffmpeg >/dev/null ||
        die "This script knows the packages of Debian and Ubuntu only; install the like of these, then run it again:" \
            "    ${PACKAGES[*]}"
}

install_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        check_other_system
        return
    fi
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        # Multi-arch packages answer once for each architecture.
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        return
    fi

    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}")
    local as_root=()
    if ((EUID != 0)); then
        # Without a terminal sudo cannot ask for a password.
        if command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
            as_root=(sudo)
        else
            die "Packages are missing; as root, run:" "    apt-get update && ${install[*]}"
        fi
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q && "${as_root[@]}" "${install[@]}" ||
        die "apt-get could not install the packages; it says why above."
}

runtime_is_there() {
    [[ -f $ORT_DIR/VERSION && $(<"$ORT_DIR/VERSION") == "$ORT_VERSION $arch" ]] &&
        (cd "$ORT_DIR" && sha256sum --check --status SHA256SUMS 2>/dev/null)
}

install_runtime() {
    if runtime_is_there; then
        return
    fi
    say "fetching ONNX Runtime $ORT_VERSION for $arch"
    mkdir -p .heatcast
    scratch=$(mktemp -d .heatcast/setup.XXXXXX)
    trap 'rm -rf "$scratch"' EXIT

    # The C library inside the Python wheel is the same for every Python.
    printf 'onnxruntime==%s --hash=sha256:%s\n' "$ORT_VERSION" "$ort_sha256" >"$scratch/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
        --only-binary :all: --platform "manylinux_2_28_$arch" --python-version 3.12 \
        --implementation cp --dest "$scratch" --requirement "$scratch/requirements.txt" ||
        die "ONNX Runtime $ORT_VERSION could not be fetched; pip says why above. Check the network, then run this again."

    mkdir -p "$scratch/new/lib"
    python3 - "$scratch"/onnxruntime-*.whl "$scratch/new" "$ORT_VERSION" <<'PYTHON'
import pathlib
import sys
import zipfile

wheel, target, version = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
with zipfile.ZipFile(wheel) as archive:
    for name, to in {
        f"onnxruntime/capi/libonnxruntime.so.{version}": f"lib/libonnxruntime.so.{version}",
        "onnxruntime/LICENSE": "LICENSE",
        "onnxruntime/ThirdPartyNotices.txt": "ThirdPartyNotices.txt",
    }.items():
        (target / to).write_bytes(archive.read(name))
PYTHON
    (cd "$scratch/new" && sha256sum lib/* LICENSE ThirdPartyNotices.txt >SHA256SUMS)
    printf '%s %s\n' "$ORT_VERSION" "$arch" >"$scratch/new/VERSION"
    rm -rf "$ORT_DIR"
    mv "$scratch/new" "$ORT_DIR"
    say "ONNX Runtime is at $ORT_DIR/lib/"
}

check_rust
check_machine
install_packages
install_runtime
