//! The figures as Prometheus reads them, in the OpenMetrics text format. Must
//! not know where they come from. Every name is listed in
//! `docs/reference/api.md`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::station::{Histogram, Metrics, State, StreamMetrics};

/// What the text is.
pub(super) const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures as text; `viewers` says how many watch each stream in a browser.
pub(super) fn text(metrics: Metrics, viewers: &[(String, usize)]) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("heatcast");
    let viewers = viewers.to_vec();
    registry.register_collector(Box::new(Figures { metrics, viewers }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Figures {
    metrics: Metrics,
    viewers: Vec<(String, usize)>,
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let build = &self.metrics.build;
        let info = encoder.encode_descriptor("build", "What runs", None, MetricType::Info)?;
        let mut info = info;
        info.encode_info(&vec![
            ("version", build.version.as_str()),
            ("gstreamer", &build.gstreamer),
            ("onnxruntime", &build.onnxruntime),
            ("model", &build.model),
            ("provider", &build.provider),
        ])?;
        self.encode_counts(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        self.encode_times(&mut encoder)
    }
}

impl Figures {
    fn encode_counts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Count = fn(&StreamMetrics) -> u64;
        let counts: [(&str, &str, Count); 6] = [
            ("frames", "Frames that came in", |s| s.frames),
            ("analysed", "Frames that were analysed", |s| s.analysed),
            ("failed", "Frames on which the classifier failed", |s| s.failed),
            ("reconnects", "Times the picture came back after it was lost", |s| s.reconnects),
            ("reconnect_attempts", "Times it was tried to open the source again", |s| {
                s.reconnect_attempts
            }),
            ("clock_repairs", "Repairs of the source's clock", |s| s.clock_repairs),
        ];
        for (name, help, count) in counts {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for stream in &self.metrics.streams {
                let labels = of(stream);
                let mut one = family.encode_family(&labels)?;
                one.encode_counter::<NoLabelSet, u64, u64>(&count(stream), None)?;
            }
        }
        let help = "Frames that were not analysed, by cause";
        let mut family = encoder.encode_descriptor("skipped", help, None, MetricType::Counter)?;
        for stream in &self.metrics.streams {
            for (cause, count) in &stream.skipped {
                let labels: Labels<'_> = vec![("stream", &stream.name), ("cause", cause)];
                let mut one = family.encode_family(&labels)?;
                one.encode_counter::<NoLabelSet, u64, u64>(count, None)?;
            }
        }
        Ok(())
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 for what the stream is doing, 0 for the rest";
        let mut family = encoder.encode_descriptor("state", help, None, MetricType::Gauge)?;
        for stream in &self.metrics.streams {
            for (state, name) in STATES {
                let labels: Labels<'_> = vec![("stream", &stream.name), ("state", name)];
                let is = i64::from(stream.state == state);
                family.encode_family(&labels)?.encode_gauge(&is)?;
            }
        }
        let help = "Frames that wait, by queue";
        let mut family = encoder.encode_descriptor("queue_depth", help, None, MetricType::Gauge)?;
        for stream in &self.metrics.streams {
            for (queue, depth) in &stream.queue_depth {
                let labels: Labels<'_> = vec![("stream", &stream.name), ("queue", queue)];
                family.encode_family(&labels)?.encode_gauge(depth)?;
            }
        }
        let help = "Clients of the RTSP mounts";
        let mut family =
            encoder.encode_descriptor("rtsp_clients", help, None, MetricType::Gauge)?;
        for stream in &self.metrics.streams {
            family.encode_family(&of(stream))?.encode_gauge(&stream.rtsp_clients)?;
        }
        let help = "Browsers that watch";
        let mut family = encoder.encode_descriptor("web_viewers", help, None, MetricType::Gauge)?;
        for (name, viewers) in &self.viewers {
            let labels: Labels<'_> = vec![("stream", name)];
            family.encode_family(&labels)?.encode_gauge(&(*viewers as u64))?;
        }
        Ok(())
    }

    fn encode_times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Time = fn(&StreamMetrics) -> Option<f64>;
        let times: [(&str, &str, Time); 2] = [
            ("explanation_age", "Age of the heat when it was last painted", |s| {
                s.explanation_age_s
            }),
            ("av_offset", "How much further sound is behind the picture than in the source", |s| {
                s.av_offset_s
            }),
        ];
        for (name, help, time) in times {
            let unit = Some(&Unit::Seconds);
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for stream in &self.metrics.streams {
                if let Some(time) = time(stream) {
                    family.encode_family(&of(stream))?.encode_gauge(&time)?;
                }
            }
        }
        type Spread = fn(&StreamMetrics) -> &Histogram;
        let spreads: [(&str, &str, Spread); 2] = [
            ("latency", "Decoded frame in to encoded frame out", |s| &s.latency_s),
            ("inference", "One run of the classifier", |s| &s.inference_s),
        ];
        for (name, help, spread) in spreads {
            let unit = Some(&Unit::Seconds);
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
            for stream in &self.metrics.streams {
                encode_histogram(family.encode_family(&of(stream))?, spread(stream))?;
            }
        }
        Ok(())
    }
}

const STATES: [(State, &str); 5] = [
    (State::Starting, "starting"),
    (State::Running, "running"),
    (State::Reconnecting, "reconnecting"),
    (State::Ended, "ended"),
    (State::Failed, "failed"),
];

fn of(stream: &StreamMetrics) -> Labels<'_> {
    vec![("stream", &stream.name)]
}

fn encode_histogram(mut encoder: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let ranges: Vec<_> = histogram.ranges().collect();
    let (sum, count) = (histogram.sum(), histogram.count());
    encoder.encode_histogram::<NoLabelSet>(sum, count, &ranges, None)
}
