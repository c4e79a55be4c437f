#!/usr/bin/env python3
"""What annotating costs beside a plain transcode, and beside the script a user
would write. Ratios from alternating runs in one go, so that other work on the
machine weighs on all of them alike.

usage: python3 benches/transcode.py [--runs N] [--long] [--peer PYTHON]

  --long         also annotates a ten-minute input and samples its memory
  --peer PYTHON  also runs benches/peers/naive.py with that interpreter (one
                 that has benches/peers/requirements.txt)

Needs target/release/heatcast (make build), gst-launch-1.0 and ffmpeg.
"""
import argparse
import json
import os
import statistics
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "target", "bench")
HEATCAST = os.path.join(ROOT, "target", "release", "heatcast")
# The encoder settings Heatcast uses by default.
X264 = "x264enc speed-preset=veryfast pass=qual quantizer=20 key-int-max=60 vbv-buf-capacity=0"


def make_inputs(long):
    """A 1080p30 recording of 20 s with sound, and ten minutes of it."""
    os.makedirs(WORK, exist_ok=True)
    clip = os.path.join(WORK, "1080p30.mp4")
    if not os.path.exists(clip):
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-i", os.path.join(ROOT, "assets/clips/bbb.mp4"),
             "-vf", "scale=1920:1080,fps=30", "-c:v", "libx264", "-preset", "fast", "-b:v", "6M",
             "-c:a", "copy", clip], check=True)
    hour = os.path.join(WORK, "1080p30-10min.mp4")
    if long and not os.path.exists(hour):
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-stream_loop", "29", "-i", clip, "-c", "copy",
                        "-t", "600", hour], check=True)
    return clip, hour


def run(command, env=None):
    """Runs a command; wall and CPU seconds, peak memory in MB, and its output."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=ROOT)
    errors = []
    reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    reader.start()
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    reader.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} failed: {errors[0].decode()[-500:]}")
    return {"wall": time.monotonic() - begun, "cpu": usage.ru_utime + usage.ru_stime,
            "rss": usage.ru_maxrss / 1024, "out": out}


def plain(clip):
    out = os.path.join(WORK, "plain.mp4")
    line = (f"filesrc location={clip} ! qtdemux name=d mp4mux name=m ! filesink location={out} "
            f"d.video_0 ! queue ! h264parse ! avdec_h264 ! video/x-raw,format=I420 ! queue max-size-buffers=8 ! {X264} ! h264parse ! m. "
            f"d.audio_0 ! queue max-size-time=0 max-size-buffers=0 max-size-bytes=50000000 ! aacparse ! m.")
    return run(["gst-launch-1.0", "-q", *line.split()])


def annotated(clip, *more):
    out = os.path.join(WORK, "annotated.mp4")
    result = run([HEATCAST, "annotate", clip, "-o", out, "--force", "-q", "--json", *more])
    result["summary"] = json.loads(result["out"])
    return result


def median(results, key):
    return statistics.median(r[key] for r in results)


def compare(clip, runs):
    before, after = [], []
    for _ in range(runs):
        before.append(plain(clip))
        after.append(annotated(clip))
    classifier = statistics.median(r["summary"]["analysis_cpu_s"] for r in after)
    print(f"input: 1080p30, {after[0]['summary']['frames_in']} frames, {runs} alternating runs, medians")
    print(f"plain transcode  cpu {median(before, 'cpu'):6.2f} s  wall {median(before, 'wall'):6.2f} s  peak {median(before, 'rss'):4.0f} MB")
    print(f"heatcast         cpu {median(after, 'cpu'):6.2f} s  wall {median(after, 'wall'):6.2f} s  peak {median(after, 'rss'):4.0f} MB")
    print(f"  of it the classifier: {classifier:.2f} s for {after[0]['summary']['frames_analysed']} analyses")
    ratio = (median(after, "cpu") - classifier) / median(before, "cpu")
    print(f"CPU without the classifier: {ratio:.3f}x the plain transcode (wanted: at most 1.08)")
    print(f"peak memory: {median(after, 'rss') - median(before, 'rss'):+.0f} MB (wanted: at most +120)")


def memory(hour):
    """Peak memory early and late in a long run."""
    out = os.path.join(WORK, "long.mp4")
    child = subprocess.Popen([HEATCAST, "annotate", hour, "-o", out, "--force", "-q",
                              "--set", "output.preset=ultrafast"], cwd=ROOT)
    samples = []
    while child.poll() is None:
        try:
            status = open(f"/proc/{child.pid}/status").read()
            samples.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
        except (OSError, IndexError):
            pass
        time.sleep(0.5)
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth:3 * tenth], samples[-2 * tenth:]
    print(f"ten minutes: {statistics.median(early):.0f} MB in the second and third tenth, "
          f"{statistics.median(late):.0f} MB in the last two, peak {max(samples):.0f} MB")


def peer(clip, python):
    out = os.path.join(WORK, "peer.mp4")
    script = os.path.join(ROOT, "benches/peers/naive.py")
    theirs = run([python, script, clip, out])
    # The script runs the network of `imagenet`.
    same = ("--model", "imagenet")
    every_frame = annotated(clip, *same, "--analysis-fps", "1000")
    ours = annotated(clip, *same)
    frames = ours["summary"]["frames_in"]
    print(f"naive script (analyses every frame)    {frames / theirs['wall']:6.1f} frames/s  cpu {theirs['cpu']:.1f} s")
    print(f"heatcast, every frame analysed         {frames / every_frame['wall']:6.1f} frames/s  cpu {every_frame['cpu']:.1f} s  {theirs['wall'] / every_frame['wall']:.2f}x the script")
    print(f"heatcast, 5 analyses a second          {frames / ours['wall']:6.1f} frames/s  cpu {ours['cpu']:.1f} s  {theirs['wall'] / ours['wall']:.2f}x the script (wanted: at least 3)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--peer", metavar="PYTHON")
    args = parser.parse_args()
    clip, hour = make_inputs(args.long)
    compare(clip, args.runs)
    if args.peer:
        peer(clip, args.peer)
    if args.long:
        memory(hour)


if __name__ == "__main__":
    main()
