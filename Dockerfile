# Builds the program, then puts it beside its libraries and models.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY scripts scripts
RUN bash scripts/setup.sh
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gstreamer1.0-libav gstreamer1.0-plugins-bad gstreamer1.0-plugins-base \
        gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home heatcast
COPY --from=build /src/target/release/heatcast /opt/heatcast/heatcast
COPY --from=build /src/.heatcast/onnxruntime/lib /opt/heatcast/lib
COPY --from=build /src/models /opt/heatcast/models
USER heatcast
WORKDIR /media
ENTRYPOINT ["/opt/heatcast/heatcast"]
CMD ["doctor"]
