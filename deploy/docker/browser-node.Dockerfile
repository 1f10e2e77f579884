# syntax=docker/dockerfile:1
# Build from the top of the repository: docker build --file deploy/docker/browser-node.Dockerfile --tag browserfleet/browser-node .
# The base image is pinned by its tag; a registry's own tooling should pin the digest of what it mirrors.

FROM python:3.11-slim-bookworm AS build
COPY deploy/local/uv.lock.txt /tmp/uv.lock.txt
RUN pip install --no-cache-dir --require-hashes --only-binary :all: --requirement /tmp/uv.lock.txt
WORKDIR /source
COPY requirements.lock ./
COPY protos/pyproject.toml protos/
COPY protos/gen protos/gen
COPY services/kit services/kit
COPY services/browser-node services/browser-node
# The lock file fixes versions and hashes of what these three need, and of what builds them; nothing else is installed.
RUN uv venv --python /usr/local/bin/python3.11 /opt/browserfleet \
 && uv pip install --python /opt/browserfleet/bin/python --no-cache --no-sources \
      --constraint requirements.lock --build-constraint requirements.lock \
      ./protos ./services/kit ./services/browser-node
# The ad blocker knows a short list of the project's own. `--build-arg AD_BLOCKER_LISTS_PACKAGE=webext-ublock-origin-chromium`
# adds EasyList and EasyPrivacy as that Debian package has them; their terms (GPL-3+ or CC-BY-SA-3.0+) then hold for the
# image, and ATTRIBUTION.txt beside the extension names them.
ARG AD_BLOCKER_LISTS_PACKAGE=
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /lists
RUN if [ -n "$AD_BLOCKER_LISTS_PACKAGE" ]; then \
      apt-get update \
   && apt-get download "$AD_BLOCKER_LISTS_PACKAGE" \
   && dpkg-deb --extract ./*.deb . \
   && rm -rf /var/lib/apt/lists/*; \
    fi \
 && find . -path '*/easylist/easy*.txt' -print0 \
  | xargs -0 /opt/browserfleet/bin/python -m browser_node.adblock --output /opt/ad-blocker --list

FROM python:3.11-slim-bookworm
# tini collects the processes that a killed browser leaves. Fonts: without them pages show boxes.
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      chromium chromium-headless-shell fonts-liberation fonts-noto-color-emoji fonts-noto-cjk tini \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 fleet \
 && useradd --uid 10001 --gid fleet --create-home --home-dir /home/fleet --shell /usr/sbin/nologin fleet \
 && install -d -o fleet -g fleet -m 0700 /var/lib/browserfleet
# Chromium's sandbox needs user namespaces, which the engine's default seccomp profile forbids: run with
# deploy/docker/browser-seccomp.json, as deploy/compose.yaml does. The node does not start browsers without a sandbox
# unless FLEET_ALLOW_NO_SANDBOX=true says so.
ENV FLEET_STATE_DIR=/var/lib/browserfleet \
    FLEET_ATTACH_LISTEN=0.0.0.0:9222 \
    FLEET_AD_BLOCKER_DIR=/opt/ad-blocker
VOLUME ["/var/lib/browserfleet"]
COPY --from=build /opt/browserfleet /opt/browserfleet
# What a node that is root shows to its browsers; here it is in place for all of them.
RUN install -D -m 0644 \
      /opt/browserfleet/lib/python3.11/site-packages/browser_node/adapters/chromium/confinement/managed_policy.json \
      /etc/chromium/policies/managed/browserfleet.json
COPY --from=build /opt/ad-blocker /opt/ad-blocker
ENV PATH=/opt/browserfleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRPC_ENABLE_FORK_SUPPORT=0 \
    FLEET_GRPC_LISTEN=0.0.0.0:50051
USER 10001:10001
WORKDIR /
EXPOSE 50051 9222
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-m", "fleetkit.rpc.health_probe", "127.0.0.1:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "-s", "--", "python", "-m", "browser_node"]
