#!/usr/bin/env python3
"""How fast a recording is scanned, beside Debian's comskip on the same file, and
how exact both find its breaks. Ratios from alternating runs in one go, so that
other work on the machine weighs on all of them alike.

usage: python3 benches/scan.py [--runs N] [--minutes N] [--heatcast PROGRAM] [--no-comskip] [--memory]

  --memory  scans twelve hours and samples the memory (needs 1 GB of disk, 10 minutes)

The recordings are made on the spot: the bundled clip as programme, generated
pictures as adverts, with black and silence between them. Speed is measured with
the model `broadcast`, exactness with the one of tests/fixtures/content, which
was made for these pictures: it shows how exact times are, not how good a model.

Needs target/release/heatcast (make build), ffmpeg and, for the comparison, comskip.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "target", "bench")
CLIP = os.path.join(ROOT, "assets/clips/bbb.mp4")
CONTENT = os.path.join(ROOT, "tests/fixtures/content")
FPS = 25
# Programme: start in the clip and seconds; adverts: FFmpeg's source and seconds.
SCENES = [(0, 18), (3, 16), (6, 14), (1, 19), (8, 12), (4, 17), (2, 15), (5, 14), (0, 20)]
ADVERTS = [("testsrc2", 15), ("mandelbrot", 20), ("smptehdbars", 10), ("testsrc", 30), ("testsrc2", 15)]
BLACK = 10  # frames
KINDS = {
    "720p H.264": ("h264.ts", "1280x720", "-c:v libx264 -preset veryfast -b:v 4M -maxrate 6M -bufsize 6M -g 50 -c:a aac -b:a 128k", 40),
    "SD MPEG-2": ("mpeg2.ts", "720x576", "-c:v mpeg2video -b:v 4M -maxrate 6M -bufsize 2M -g 12 -bf 2 -c:a mp2 -b:a 192k", 80),
}


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def unit(name, size, encoder):
    """One programme and one break; its file, its length and the break, in seconds."""
    parts = [("clip", s, n * FPS) for s, n in SCENES]
    parts.append(("black", None, BLACK))
    for source, seconds in ADVERTS:
        parts += [("advert", source, seconds * FPS), ("black", None, BLACK)]
    frames = [n for _, _, n in parts]
    start = (sum(frames[: len(SCENES)]) + BLACK / 2) / FPS
    end = (sum(frames) - BLACK / 2) / FPS
    path = os.path.join(WORK, f"unit-{name}")
    if not os.path.exists(path):
        inputs, graph, ends = [], "", ""
        for i, (kind, what, n) in enumerate(parts):
            if kind == "clip":
                inputs += ["-stream_loop", "-1", "-ss", what, "-i", CLIP]
            else:
                inputs += ["-f", "lavfi", "-i", f"{what or 'color=black'}{':' if kind == 'black' else '='}s={size}:r={FPS}"]
            sound = "anullsrc=r=48000:cl=mono" if kind == "black" else f"sine=f={200 + 40 * (i % 9)}:r=48000"
            # Grain, as broadcasts have it: flat pictures would decode too fast.
            grain = "" if kind == "black" else ",noise=alls=4:allf=t"
            graph += (f"[{i}:v]fps={FPS},scale={size},setsar=1{grain},format=yuv420p,trim=end_frame={n},setpts=PTS-STARTPTS[v{i}];"
                      f"{sound},aformat=sample_fmts=fltp:channel_layouts=stereo,atrim=end_sample={n * 48000 // FPS}[a{i}];")
            ends += f"[v{i}][a{i}]"
        graph += f"{ends}concat=n={len(parts)}:v=1:a=1[v][a]"
        ffmpeg(*inputs, "-filter_complex", graph, "-map", "[v]", "-map", "[a]", *encoder.split(), path)
    return path, sum(frames) / FPS, (start, end)


def recording(name, size, encoder, seconds):
    path, length, (start, end) = unit(name, size, encoder)
    times = max(1, round(seconds / length))
    long = os.path.join(WORK, f"{times}x-{name}")
    if not os.path.exists(long):
        ffmpeg("-stream_loop", times - 1, "-i", path, "-map", "0", "-c", "copy", long)
    truth = [(n * length + start, n * length + end) for n in range(times)]
    return long, times * length, truth


def run(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=WORK)
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "out": done.stdout, "code": done.returncode, "err": done.stderr}


def scan(program, path, *more):
    result = run([program, "scan", "-q", "--json", path, *more])
    if result["code"]:
        raise SystemExit(f"heatcast failed: {result['err'].decode()[-500:]}")
    result["recording"] = json.loads(result["out"])["recordings"][0]
    return result


def comskip(path):
    result = run(["comskip", "--output=" + WORK, path])
    lists = os.path.join(WORK, os.path.splitext(os.path.basename(path))[0] + ".txt")
    breaks = []
    for line in open(lists).read().splitlines()[2:]:
        start, end = line.split()
        breaks.append((int(start) / FPS, int(end) / FPS))
    result["breaks"] = breaks
    return result


def off(truth, found):
    """Seconds from every true boundary to the nearest one that was found."""
    edges = [t for pair in found for t in pair]
    return sorted(min((abs(t - e) for e in edges), default=float("inf")) for pair in truth for t in pair)


def say_exact(who, truth, found):
    errors = off(truth, found)
    within = sum(e <= 0.5 for e in errors)
    print(f"  {who:9} {len(found)} breaks of {len(truth)}; {within} of {len(errors)} boundaries within 0.5 s, "
          f"median {statistics.median(errors):.3f} s, worst {errors[-1]:.3f} s off")


def compare(kind, args):
    name, size, encoder, wanted = KINDS[kind]
    path, seconds, truth = recording(name, size, encoder, args.minutes * 60)
    ours, theirs = [], []
    for _ in range(args.runs):
        ours.append(scan(args.heatcast, path))
        if args.comskip:
            theirs.append(comskip(path))
    median = lambda results, key: statistics.median(r[key] for r in results)
    wall, cpu = median(ours, "wall"), median(ours, "cpu")
    r = ours[0]["recording"]
    classifier = statistics.median(o["recording"]["classifier_cpu_s"] for o in ours)
    print(f"{kind}, {seconds / 60:.1f} minutes, {os.path.getsize(path) / 1e6:.0f} MB, {args.runs} runs, medians")
    print(f"  heatcast  wall {wall:7.2f} s  cpu {cpu:7.2f} s  {seconds / wall:6.1f}x real time (wanted: {wanted}x), "
          f"{2 * seconds / cpu:.1f}x if two processors were free")
    print(f"    classifier {classifier:.2f} s of cpu ({100 * classifier / cpu:.0f} %) for {r['pictures_classified']} pictures; "
          f"{r['pictures_decoded']} of {r['pictures']} pictures decoded")
    if theirs:
        print(f"  comskip   wall {median(theirs, 'wall'):7.2f} s  cpu {median(theirs, 'cpu'):7.2f} s  {seconds / median(theirs, 'wall'):6.1f}x real time")
        print(f"  heatcast is {median(theirs, 'wall') / wall:.2f}x as fast (cpu {median(theirs, 'cpu') / cpu:.2f}x; wanted: 3x)")
    exact = scan(args.heatcast, path, "--model", CONTENT)["recording"]
    found = [(s["start_s"], s["end_s"]) for s in exact["segments"] if s["label"] == "commercial"]
    say_exact("heatcast", truth, found)
    if theirs:
        say_exact("comskip", truth, theirs[0]["breaks"])


def memory(args):
    """Peak memory early and late in a scan of twelve hours."""
    encoder = "-c:v libx264 -preset veryfast -b:v 80k -g 50 -c:a mp2 -b:a 32k"
    path, seconds, _ = recording("small.ts", "160x90", encoder, 12 * 3600)
    child = subprocess.Popen([args.heatcast, "scan", "-q", "--json", path, "--model", CONTENT],
                             stdout=subprocess.DEVNULL, cwd=WORK)
    samples, begun = [], time.monotonic()
    while child.poll() is None:
        try:
            samples.append(int(open(f"/proc/{child.pid}/status").read().split("VmRSS:")[1].split()[0]) / 1024)
        except (OSError, IndexError):
            pass
        time.sleep(0.2)
    tenth = max(1, len(samples) // 10)
    print(f"{seconds / 3600:.1f} hours in {time.monotonic() - begun:.0f} s: {statistics.median(samples[tenth:2 * tenth]):.0f} MB in the second tenth, "
          f"{statistics.median(samples[-2 * tenth:]):.0f} MB in the last two, peak {max(samples):.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--heatcast", default=os.path.join(ROOT, "target/release/heatcast"))
    parser.add_argument("--no-comskip", dest="comskip", action="store_false")
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    args.heatcast = os.path.abspath(args.heatcast)
    os.makedirs(WORK, exist_ok=True)
    for kind in KINDS:
        compare(kind, args)
    if args.memory:
        memory(args)


if __name__ == "__main__":
    main()
