#!/usr/bin/env python3
"""Runs live streams for a while under what they meet in service, and reports
whether anything grew or stood still.

    make soak MINUTES=30
    python3 benches/soak.py --minutes 5 --heatcast target/debug/heatcast
    python3 benches/soak.py --minutes 6 --failures 18   # many of them

Two camera processes (the program itself, looping a clip and a test pattern) are
killed, frozen and started again at random; players join, are frozen and leave;
classes are switched. Every few seconds memory, threads, descriptors, delay, offset
of the sound and skips of the annotator are noted. Needs ffmpeg; nothing else is installed.
Exits with 1 when memory, threads or descriptors grow, or a stream stands still.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Growth that a run may have after its warm-up.
MOST_MB_PER_MINUTE = 1.0
MOST_NEW_THREADS = 12
MOST_NEW_DESCRIPTORS = 40


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Camera:
    """A source that can be killed, frozen and started again."""

    def __init__(self, args, name, sources):
        self.args, self.name, self.sources = args, name, sources
        self.port = free_port()
        self.process = None
        self.back_at = 0.0
        self.frozen = False

    @property
    def address(self):
        return f"rtsp://127.0.0.1:{self.port}/{self.name}"

    def start(self):
        source = random.choice(self.sources)
        command = [self.args.heatcast, "serve", source, "--name", self.name, "--set", "web.address="]
        if not source.startswith("test:"):
            command.append("--loop")
        command += ["--rtsp", f"127.0.0.1:{self.port}", "--hud", "off", "--style", "off"]
        command += ["--analysis-fps", "0.1", "-q"] + self.args.model
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)

    def fail(self):
        """Dies or freezes for some seconds."""
        self.back_at = time.time() + random.uniform(2, 12)
        self.frozen = random.random() < 0.4
        self.process.send_signal(signal.SIGSTOP if self.frozen else signal.SIGKILL)
        if not self.frozen:
            self.process.wait()

    def tend(self):
        if self.back_at and time.time() > self.back_at:
            self.back_at = 0.0
            if self.frozen:
                self.process.send_signal(signal.SIGCONT)
            else:
                self.start()

    def end(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


class Player:
    """Plays a mount for a while, or sits on it frozen."""

    def __init__(self, address):
        transport = random.choice(["tcp", "tcp", "udp"])
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["ffmpeg", "-nostdin", "-loglevel", "error", "-rtsp_transport", transport, "-i", address]
            + ["-an", "-t", "3600", "-c", "copy", "-f", "null", "-"],
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        self.leaves_at = time.time() + random.uniform(1, 20)
        if random.random() < 0.1:
            self.process.send_signal(signal.SIGSTOP)

    def tend(self):
        """False once it has left."""
        if time.time() < self.leaves_at and self.process.poll() is None:
            return True
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.log.close()
        return False


def ask(web, path, method="GET", body=None):
    data = json.dumps(body).encode() if body is not None else None
    headers = {"content-type": "application/json"} if data else {}
    request = urllib.request.Request(f"http://{web}{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def process_state(pid):
    with open(f"/proc/{pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return {
        "rss_mb": int(lines["VmRSS"].split()[0]) / 1024,
        "threads": int(lines["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
    }


def slope(points):
    """Least squares: change of y for each x."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    across = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--heatcast", default="target/release/heatcast")
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--failures", type=float, default=2.4, metavar="N", help="of each source a minute")
    parser.add_argument("--calm", action="store_true", help="no failing sources, no clients")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    args.heatcast = os.path.join(ROOT, args.heatcast)
    args.model = ["--model", "tests/fixtures/counter"]
    random.seed(args.seed)

    sources = [
        ["assets/clips/bbb.mp4"],
        ["test:smpte,640x360,25", "test:ball,960x540,30", "test:smpte,320x240,15"],
    ]
    cameras = [Camera(args, f"camera{n}", sources[n % 2]) for n in range(args.streams)]
    web = f"127.0.0.1:{free_port()}"
    annotator = None
    players, joins, failures, switches = [], 0, 0, 0
    samples, stood_still, offsets = [], [], {}
    try:
        for camera in cameras:
            camera.start()
        command = [args.heatcast, "serve"]
        for n, camera in enumerate(cameras):
            command += [camera.address, "--name", f"s{n}"]
        command += ["--rtsp", f"127.0.0.1:{free_port()}", "--web", web, "-q"]
        for change in ["live.retry_most_s=3"] + args.set:
            command += ["--set", change]
        # As the service file and the image have it.
        env = {
            "MALLOC_ARENA_MAX": "2",
            "MALLOC_MMAP_THRESHOLD_": "1048576",
            "MALLOC_TRIM_THRESHOLD_": "1048576",
        } | os.environ
        annotator = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=env)
        begun = time.time()
        while True:
            try:
                streams = ask(web, "/api/v1/streams")
                break
            except OSError:
                if annotator.poll() is not None or time.time() > begun + 60:
                    sys.exit("soak: the annotator did not start")
                time.sleep(0.2)
        mounts = [stream["rtsp"][0] for stream in streams]
        begun = time.time()
        end = begun + args.minutes * 60
        warm = begun + min(120, args.minutes * 60 / 3)
        next_sample = begun
        counts = {}
        while time.time() < end:
            for camera in cameras:
                camera.tend()
                if not args.calm and not camera.back_at and random.random() < args.failures / 600:
                    camera.fail()
                    failures += 1
            players = [player for player in players if player.tend()]
            if not args.calm and len(players) < 6 and random.random() < 0.08:
                players.append(Player(random.choice(mounts)))
                joins += 1
            if not args.calm and random.random() < 0.02:
                stream = random.choice(streams)
                labels = [c["label"] for h in stream["heads"] for c in h["classes"]]
                body = {"class": random.choice(["top"] + labels), "opacity": random.random()}
                ask(web, f"/api/v1/streams/{stream['name']}", "PATCH", body)
                switches += 1
            if time.time() > next_sample:
                next_sample += 5
                streams = ask(web, "/api/v1/streams")
                state = process_state(annotator.pid)
                state["minute"] = (time.time() - begun) / 60
                state["clients"] = len(players)
                samples.append(state)
                for stream in streams:
                    if stream["av_offset_ms"] is not None:
                        offsets.setdefault(stream["name"], []).append(stream["av_offset_ms"])
                    if stream["fps"] < 5 and time.time() > begun + 15:
                        stood_still.append((round(state["minute"], 2), stream["name"], stream["fps"]))
                print(
                    f"{state['minute']:5.1f} min  {state['rss_mb']:6.1f} MB  {state['threads']:3} threads"
                    f"  {state['descriptors']:3} descriptors  {len(players)} clients  "
                    + "  ".join(
                        f"{s['name']} {s['state'][:7]} {s['fps']:.0f} fps"
                        + (f" p95 {s['latency_ms']['p95']:.0f} ms" if s["latency_ms"] else "")
                        for s in streams
                    ),
                    flush=True,
                )
            time.sleep(0.1)
        for player in players:
            player.leaves_at = 0
            player.tend()
        players = []
        for camera in cameras:
            camera.back_at = camera.back_at and 1
            camera.tend()
        time.sleep(15)
        streams = ask(web, "/api/v1/streams")
        last = process_state(annotator.pid)
        begun_end = time.time()
        annotator.send_signal(signal.SIGTERM)
        code = annotator.wait(10)
        took = time.time() - begun_end
    finally:
        for player in players:
            player.leaves_at = 0
            player.tend()
        for camera in cameras:
            camera.end()
        if annotator and annotator.poll() is None:
            annotator.kill()

    later = [s for s in samples if begun + s["minute"] * 60 >= warm] or samples
    growth = slope([(s["minute"], s["rss_mb"]) for s in later])
    # The quietest moments: clients have threads and descriptors of their own.
    half = len(later) // 2
    least = lambda key, part: min(s[key] for s in part) if part else last[key]
    threads = last["threads"] - least("threads", later[: half or 1])
    descriptors = last["descriptors"] - least("descriptors", later[: half or 1])
    print(f"\n{args.minutes:g} minutes, {len(mounts)} streams, {failures} failures of sources, "
          f"{joins} clients joined, {switches} switches of class")
    print(f"memory: {growth:+.2f} MB a minute after warm-up, {last['rss_mb']:.0f} MB at the end")
    print(f"threads: {last['threads']} at the end without clients, {threads:+} since the warm-up")
    print(f"descriptors: {last['descriptors']}, {descriptors:+}")
    for s in streams:
        delay = s["latency_ms"] or {}
        print(f"{s['name']}: {s['state']}, {s['frames']} frames, {s['analysed']} analysed, "
              f"{s['reconnects']} reconnects, skipped {s['skipped']}, delay "
              + ", ".join(f"{k} {v:.1f} ms" for k, v in delay.items()))
        if found := sorted(offsets.get(s["name"], [])):
            low, middle, high = (found[int(part * (len(found) - 1))] for part in (0.05, 0.5, 0.95))
            print(f"    sound behind the picture, beside the source: {middle:+.1f} ms in the middle, "
                  f"{low:+.1f} to {high:+.1f} ms in nine of ten looks")
    print(f"ended in {took:.1f} s with exit code {code}")
    for minute, name, fps in stood_still[:20]:
        print(f"stood still: {name} at {minute} min ({fps:.1f} fps)")
    bad = (
        growth > MOST_MB_PER_MINUTE or threads > MOST_NEW_THREADS
        or descriptors > MOST_NEW_DESCRIPTORS or stood_still or code != 0
    )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
