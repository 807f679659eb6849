# Stage 1 builds and tests on the base image; stage 2 carries the program alone, as user 1000.
#   docker build -t nightshift .                                     with real frames for the tests: see CONTRIBUTING.md
#   docker run --rm -v "$PWD:/data" nightshift reduce /data/raw/*.fits --out /data/out
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src/nightshift
# The packages first: this layer changes only with their list.
COPY run-tests ./
RUN ./run-tests --packages && rm -rf /var/lib/apt/lists/*
COPY . .
RUN ./run-tests
RUN strip --strip-unneeded -o /nightshift build/release/nightshift

FROM ${BASE_IMAGE} AS runtime
RUN apt-get -qq update \
 && apt-get -qq install -y --no-install-recommends \
      libcfitsio10 libwcs7 liberfa1 libyaml-0-2 libjansson4 libssl3 libcairo2 libgomp1 zlib1g libbz2-1.0 \
      libpq5 libcurl4 libmicrohttpd12 libexpat1 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1000 nightshift \
 && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /data --shell /usr/sbin/nologin nightshift \
 && install -d -o 1000 -g 1000 /data
COPY --from=build /nightshift /usr/local/bin/nightshift
COPY LICENSE /usr/share/doc/nightshift/LICENSE
# Every library the program asks for is there, and it starts.
RUN ! ldd /usr/local/bin/nightshift | grep 'not found' && nightshift --version
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["nightshift"]
CMD ["--help"]
