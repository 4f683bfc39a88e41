# syntax=docker/dockerfile:1

FROM rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin nomad-firehose \
    && install -D --strip target/release/nomad-firehose /out/nomad-firehose

FROM debian:12.12-slim
LABEL org.opencontainers.image.title="nomad-firehose" \
      org.opencontainers.image.description="Carries every event of a HashiCorp Nomad cluster into the sink of your choice" \
      org.opencontainers.image.licenses="MIT"
# TLS trusts what the system trusts, and the slim image trusts nobody.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/LICENSE /usr/share/doc/nomad-firehose/LICENSE
COPY --from=build /out/nomad-firehose /usr/local/bin/nomad-firehose
# A number, so that an orchestrator can see that it is not root without reading the image.
USER 65532:65532
# Without NOMAD_FIREHOSE_LISTEN there is nothing to ask, and the container counts as healthy: a port that is set here would be taken
# twice where containers share the network of the machine.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
    CMD [ -z "$NOMAD_FIREHOSE_LISTEN" ] || exec nomad-firehose health
ENTRYPOINT ["nomad-firehose"]
