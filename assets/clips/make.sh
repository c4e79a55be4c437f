#!/usr/bin/env bash
# Makes bbb.mp4 from the Big Buck Bunny trailer in moviepy's source package.
# usage: make.sh [trailer_bbb.mp4]     fetches the package when none is given
set -euo pipefail

out=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/bbb.mp4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

trailer=${1:-}
if [[ -z $trailer ]]; then
    archive=moviepy-2.2.1.tar.gz
    echo "moviepy==2.2.1 --hash=sha256:c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1" \
        >"$scratch/requirements.txt"
    python3 -m pip download --quiet --no-deps --no-binary :all: --require-hashes \
        --dest "$scratch" --requirement "$scratch/requirements.txt"
    tar -xzf "$scratch/$archive" -C "$scratch" --strip-components 1
    trailer=$scratch/docs/_static/medias/getting_started/moviepy_10_minutes/trailer_bbb.mp4
fi

# From the rabbit coming out of its burrow to its face: five cuts.
ffmpeg -v error -y -ss 24 -t 21 -i "$trailer" -map 0:v:0 -map 0:a:0 \
    -c:v libx264 -preset slow -crf 23 -maxrate 1600k -bufsize 3200k \
    -pix_fmt yuv420p -bf 3 -g 96 -c:a aac -b:a 96k -ac 2 \
    -map_metadata -1 -map_chapters -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    -metadata title="Big Buck Bunny (excerpt of the trailer)" \
    -metadata copyright="(c) copyright 2008, Blender Foundation, www.bigbuckbunny.org, CC BY 3.0" \
    -movflags +faststart "$out"
