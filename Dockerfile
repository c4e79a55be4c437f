# Builds Heatcast, then leaves behind everything that only building needs.
#
#   docker build -t heatcast .
#   docker run --rm -v "$PWD:/media" --user "$(id -u):$(id -g)" heatcast annotate in.mp4 -o out.mp4

FROM rust:1.92-bookworm AS build
WORKDIR /src
# Packages and ONNX Runtime first: they change less often than the sources.
COPY scripts scripts
RUN bash scripts/setup.sh
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
# Whatever version is newest: its faults are mended.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
        gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
        gstreamer1.0-libav libgstrtspserver-1.0-0 libstdc++6 curl \
    && rm -rf /var/lib/apt/lists/*

# The program looks for ONNX Runtime in `lib` and for models in `models`, both
# beside itself.
COPY --from=build /src/target/release/heatcast /opt/heatcast/
COPY --from=build /src/.heatcast/onnxruntime/lib/ /opt/heatcast/lib/
COPY --from=build /src/.heatcast/onnxruntime/LICENSE /src/.heatcast/onnxruntime/ThirdPartyNotices.txt /opt/heatcast/lib/
COPY models/broadcast /opt/heatcast/models/broadcast
COPY models/imagenet /opt/heatcast/models/imagenet
COPY pipelines /opt/heatcast/pipelines
COPY assets/clips /opt/heatcast/assets/clips
COPY packaging/healthcheck /opt/heatcast/healthcheck
COPY LICENSE-MIT LICENSE-APACHE assets/DejaVuSans-LICENSE.txt /opt/heatcast/
RUN ln -s /opt/heatcast/heatcast /usr/local/bin/heatcast

# GStreamer's list of plug-ins is made once, here, and made readable, so that any
# user can run the image. It also proves that the image has what it needs.
ENV GST_REGISTRY=/opt/heatcast/gstreamer.registry
RUN heatcast doctor && chmod a+r "$GST_REGISTRY"
# Users that the image does not know have no home to keep caches in.
# Two arenas: live streams start and end many threads, and an arena for each
# keeps memory that nobody uses. What is as large as a picture goes back to the
# system at once, so that it leaves no holes.
ENV GST_REGISTRY_UPDATE=no HOME=/tmp MALLOC_ARENA_MAX=2 \
    MALLOC_MMAP_THRESHOLD_=1048576 MALLOC_TRIM_THRESHOLD_=1048576

RUN useradd --uid 1000 --no-create-home heatcast
# By number, so that whoever runs it sees that it is not the administrator.
USER 1000
WORKDIR /media
# Asks a running server; other commands are over before it matters.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/heatcast/healthcheck"]
ENTRYPOINT ["heatcast"]
CMD ["--help"]
