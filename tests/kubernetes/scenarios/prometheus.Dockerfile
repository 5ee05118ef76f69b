# Prometheus for scenarios, from Debian's packages: nothing has to be pulled from a registry of images.
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE} AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends prometheus

FROM ${BASE}
COPY --from=packages /usr/bin/prometheus /usr/bin/
USER 1000:1000
ENTRYPOINT ["prometheus"]
