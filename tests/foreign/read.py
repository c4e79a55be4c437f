"""Reads timeline files with other people's readers and prints what they saw.

    python read.py FOLDER

FOLDER holds rec.vtt, rec.otio, rec.scte35.csv, rec.m3u8 and rec.ts. The result is
one JSON object; tests/it/foreign.rs compares it with what was written.
"""

import contextlib
import csv
import io
import json
import pathlib
import sys

import m3u8
import opentimelineio
import threefive
import webvtt

folder = pathlib.Path(sys.argv[1])


def track():
    for cue in webvtt.read(str(folder / "rec.vtt")):
        said = json.loads(cue.text)
        yield [cue.start, cue.end, said["head"], said["label"], said["confidence"]]


def edit():
    timeline = opentimelineio.adapters.read_from_file(str(folder / "rec.otio"))
    for clip in timeline.tracks[0].find_clips():
        span = clip.range_in_parent()
        # Where it lies in the track is where it lies in the recording.
        assert span == clip.source_range, (span, clip.source_range)
        start, end = span.start_time, span.end_time_exclusive()
        yield [start.to_seconds(), end.to_seconds(), clip.name, clip.media_reference.target_url]
    for marker in timeline.tracks.markers:
        span = marker.marked_range
        yield [span.start_time.to_seconds(), span.end_time_exclusive().to_seconds(), "marker", marker.name]


def splice(section):
    cue = threefive.Cue(section)
    assert cue.decode(), section
    assert cue.encode() == section, "another encoder writes the same bytes"
    command = cue.command
    return [
        command.name,
        command.splice_event_id,
        command.out_of_network_indicator,
        command.pts_time,
        command.break_duration,
        command.break_auto_return,
    ]


def sections():
    with open(folder / "rec.scte35.csv", newline="") as table:
        for row in csv.DictReader(table):
            yield [float(row["time_s"])] + splice(row["section"])


def playlist():
    for part in m3u8.load(str(folder / "rec.m3u8")).segments:
        ranges = [[r.id, r.planned_duration, r.duration, bool(r.scte35_out), bool(r.scte35_in)] for r in part.dateranges]
        for r in part.dateranges:
            assert threefive.Cue(r.scte35_out or r.scte35_in).decode(), str(r)
        yield [part.uri, part.duration, part.cue_out_start, part.cue_in, part.program_date_time.isoformat(), ranges]


def stream():
    found = []

    def take(cue):
        command, packet = cue.command, cue.packet_data
        found.append([command.out_of_network_indicator, command.pts_time, packet.pts, command.break_duration])

    threefive.Stream(str(folder / "rec.ts")).decode(func=take)
    return found


# threefive talks on both channels.
talk = io.StringIO()
with contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
    seen = {
        "webvtt": list(track()),
        "otio": list(edit()),
        "scte35": list(sections()),
        "hls": list(playlist()),
        "ts": stream(),
    }
print(json.dumps(seen))
