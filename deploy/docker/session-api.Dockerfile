# syntax=docker/dockerfile:1
# Build from the top of the repository: docker build --file deploy/docker/session-api.Dockerfile --tag browserfleet/session-api .
# The base image is pinned by its tag; a registry's own tooling should pin the digest of what it mirrors.

FROM python:3.11-slim-bookworm AS build
COPY deploy/local/uv.lock.txt /tmp/uv.lock.txt
RUN pip install --no-cache-dir --require-hashes --only-binary :all: --requirement /tmp/uv.lock.txt
WORKDIR /source
COPY requirements.lock ./
COPY protos/pyproject.toml protos/
COPY protos/gen protos/gen
COPY services/kit services/kit
COPY services/session-api services/session-api
# The lock file fixes versions and hashes of what these three need, and of what builds them; nothing else is installed.
RUN uv venv --python /usr/local/bin/python3.11 /opt/browserfleet \
 && uv pip install --python /opt/browserfleet/bin/python --no-cache --no-sources \
      --constraint requirements.lock --build-constraint requirements.lock \
      ./protos ./services/kit ./services/session-api

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 fleet \
 && useradd --uid 10001 --gid fleet --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fleet
COPY --from=build /opt/browserfleet /opt/browserfleet
ENV PATH=/opt/browserfleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRPC_ENABLE_FORK_SUPPORT=0 \
    FLEET_GRPC_LISTEN=0.0.0.0:50051
USER 10001:10001
WORKDIR /
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-m", "fleetkit.rpc.health_probe", "127.0.0.1:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "session_api"]
