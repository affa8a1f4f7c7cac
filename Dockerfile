# The image contains one static binary: no shell and no other file. `make image` builds the same image without a Docker
# engine.
#
#   docker build --build-arg JOBWRIGHT_COMMIT=$(git rev-parse --short=12 HEAD) --tag jobwright:0.1.0 .
#
# The image of the console in the cluster (docs/ui.md) is the target `ui`. The image of the controller has no console.
#
#   docker build --build-arg JOBWRIGHT_COMMIT=$(git rev-parse --short=12 HEAD) --target ui --tag jobwright-ui:0.1.0 .
FROM rust:1.95-bookworm AS source
WORKDIR /src
COPY . .
# Commit that `jobwright version` prints. Without the argument, the commit is unknown.
ARG JOBWRIGHT_COMMIT=unknown

FROM source AS build-ui
RUN deploy/image/build release ui && mkdir /out && cp "$(deploy/image/build release ui)" /out/jobwright

FROM scratch AS ui
LABEL org.opencontainers.image.title="jobwright-ui" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-ui /out/jobwright /jobwright
USER 65532:65532
ENTRYPOINT ["/jobwright"]

FROM source AS build
RUN deploy/image/build && mkdir /out && cp "$(deploy/image/build)" /out/jobwright

FROM scratch
LABEL org.opencontainers.image.title="jobwright" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/jobwright /jobwright
USER 65532:65532
ENTRYPOINT ["/jobwright"]
