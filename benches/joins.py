#!/usr/bin/env python3
"""Lets many clients join and leave a mount, and reports whether the stream noticed.

    python3 benches/joins.py --joins 200
    python3 benches/joins.py --joins 30 --heatcast target/debug/heatcast

A looped clip with sound is served twice. Players join the mount of the first stream,
over TCP and UDP: some look at a second of pictures, some are killed while they join or
soon after, some are frozen and stay for a while. Every 25 joins all of them leave, and
the mount stands without a client. Each second the frames of both streams are counted:
the second one, which nobody joins, tells how fast the machine is under that load. Needs
ffmpeg. Exits with 1 when the first was slower than the second, when a player that
looked got no picture, or when a mount had to be started anew.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Share of the other stream's rate that every span of some seconds must have.
LEAST_SHARE = 0.9
SPAN_S = 5
# Pictures that a player looks at, and how long it may wait for them.
LOOKS_AT = 25
PATIENCE_S = 20
AT_A_TIME = 5
FROZEN_FOR_S = 12


class Player:
    def __init__(self, address, kind):
        self.kind, self.begun = kind, time.time()
        transport = random.choice(["tcp", "tcp", "udp"])
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-rtsp_transport", transport]
        command += ["-i", address, "-an"]
        if kind == "looks":
            command += ["-frames:v", str(LOOKS_AT)]
        else:
            command += ["-c", "copy"]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command + ["-f", "null", "-"], stdout=self.log, stderr=self.log)
        self.until = self.begun + (PATIENCE_S if kind == "looks" else random.uniform(0.02, 2))
        self.frozen = False
        self.took = None

    def tend(self):
        """False once it has left."""
        if self.process.poll() is not None:
            if self.kind == "looks" and self.process.returncode == 0:
                self.took = time.time() - self.begun
            return False
        if time.time() < self.until:
            return True
        if self.kind == "freezes" and not self.frozen:
            self.process.send_signal(signal.SIGSTOP)
            self.frozen, self.until = True, time.time() + FROZEN_FOR_S
            return True
        self.end()
        return False

    def end(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()[-300:]


def ask(web):
    """Frames so far of the stream that is joined, and of the one that is not."""
    with urllib.request.urlopen(f"http://{web}/api/v1/streams", timeout=10) as answer:
        streams = {stream["name"]: stream["frames"] for stream in json.load(answer)}
        return streams["joined"], streams["alone"]


class Counter(threading.Thread):
    """Notes how many frames the streams have had, every second."""

    def __init__(self, web):
        super().__init__(daemon=True)
        self.web, self.samples, self.ends = web, [], threading.Event()

    def run(self):
        while not self.ends.wait(1):
            self.samples.append((time.time(), *ask(self.web)))

    def rates(self):
        for at, (begun, joined, alone) in enumerate(self.samples):
            later = next((s for s in self.samples[at:] if s[0] - begun >= SPAN_S), None)
            if later:
                seconds = later[0] - begun
                yield (later[1] - joined) / seconds, (later[2] - alone) / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--joins", type=int, default=200)
    parser.add_argument("--heatcast", default="target/release/heatcast")
    parser.add_argument("--clip", default="assets/clips/bbb.mp4")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    random.seed(args.seed)
    log = tempfile.TemporaryFile()
    server = subprocess.Popen(
        [os.path.join(ROOT, args.heatcast), "serve", args.clip, args.clip, "--loop"]
        + ["--name", "joined", "--name", "alone"]
        + ["--model", "tests/fixtures/counter", "--rtsp", "127.0.0.1:0", "--web", "127.0.0.1:0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True,
    )
    players = []
    try:
        mount = server.stdout.readline().strip()
        server.stdout.readline()
        web = server.stdout.readline().strip().removeprefix("http://").rstrip("/")
        while min(ask(web)) < 10:
            time.sleep(0.2)
        counter = Counter(web)
        counter.start()
        kinds, took, failed, pauses, joins = {}, [], [], 0, 0
        while joins < args.joins or players:
            left = [player for player in players if not player.tend()]
            players = [player for player in players if player not in left]
            for player in left:
                if player.took is not None:
                    took.append(player.took)
                elif player.kind == "looks":
                    failed.append(player.said() or "no picture in time")
            active = sum(not player.frozen for player in players)
            if joins < args.joins and active < AT_A_TIME:
                kind = random.choice(["looks"] * 5 + ["quits"] * 3 + ["freezes"] * 2)
                kinds[kind] = kinds.get(kind, 0) + 1
                players.append(Player(mount, kind))
                joins += 1
                if joins % 25 == 0:
                    for player in players:
                        player.end()
                    players, pauses = [], pauses + 1
                    time.sleep(random.uniform(0, 2))
            time.sleep(random.uniform(0.02, 0.2))
        last = Player(mount, "looks")
        while last.tend():
            time.sleep(0.02)
        counter.ends.set()
        counter.join()
        rates = list(counter.rates())
        server.send_signal(signal.SIGTERM)
        code = server.wait(20)
    finally:
        for player in players:
            player.end()
        if server.poll() is None:
            server.kill()
    log.seek(0)
    anew = log.read().decode(errors="replace").count("started anew")
    took.sort()
    print(f"{joins} clients joined: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())
          + f"; {pauses} times all left at once")
    shares = [joined / alone for joined, alone in rates if alone]
    print(f"frames a second over {SPAN_S} s, {len(rates)} spans: joined {min(r[0] for r in rates):.1f} to "
          f"{max(r[0] for r in rates):.1f}, alone {min(r[1] for r in rates):.1f} to "
          f"{max(r[1] for r in rates):.1f}; joined / alone {min(shares):.2f} at least")
    if took:
        print(f"{LOOKS_AT} pictures after: {took[len(took) // 2]:.1f} s (median), {took[-1]:.1f} s (most), "
              f"{len(failed)} players got none")
    print("afterwards: " + (f"{LOOKS_AT} pictures in {last.took:.1f} s" if last.took else "no picture"))
    print(f"mounts started anew: {anew}; exit code {code}")
    for why in failed[:10]:
        print(f"no picture: {why}")
    slow = min(shares) < LEAST_SHARE
    sys.exit(1 if slow or failed or not last.took or anew or code != 0 else 0)


if __name__ == "__main__":
    main()
