# The image: one static binary, no shell, no other file. `make image` makes the same one without a Docker engine.
#
#   docker build --build-arg JOBWRIGHT_COMMIT=$(git rev-parse --short=12 HEAD) --tag jobwright:0.1.0 .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# What `jobwright version` tells; without it, unknown.
ARG JOBWRIGHT_COMMIT=unknown
RUN deploy/image/build && mkdir /out && cp "$(deploy/image/build)" /out/jobwright

FROM scratch
LABEL org.opencontainers.image.title="jobwright" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/jobwright /jobwright
USER 65532:65532
ENTRYPOINT ["/jobwright"]
