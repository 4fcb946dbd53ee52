# One image for SageMaker hosting, asynchronous inference, batch transform and a GPU box.
# No weights, no NVIDIA driver, and no line that would need a registry besides the base's.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Python packages, each of a version and with a hash that container/ names. The files
# are complete, so nothing is resolved here; what needs only a part of its requirements
# gets no others.
FROM ${BASE_IMAGE} AS wheels
# cuda or cpu
ARG VARIANT=cuda
# Where the CPU build of torch comes from: --extra-index-url https://...
ARG PIP_ARGS=""
COPY container/requirements-${VARIANT}.txt container/requirements-prompts.txt /tmp/
# Word splitting is wanted in PIP_ARGS.
# hadolint ignore=SC2086
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes --no-deps ${PIP_ARGS} \
      -r "/tmp/requirements-${VARIANT}.txt" \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes --no-deps ${PIP_ARGS} \
      -r /tmp/requirements-prompts.txt \
 && echo /opt/chandra > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/chandra.pth"

# As it runs: without tests, headers, compilers, pip and what of CUDA nothing links to;
# with Python's cache, which cannot be written on a read-only root and saves seconds of
# every start.
FROM wheels AS lean
RUN packages="$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && rm -rf "$packages"/torch/test "$packages"/torch/include "$packages"/pip "$packages"/pip-* /opt/venv/bin/pip* \
 && find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete \
 && find "$packages" -path '*/nvidia/*' \( -name 'libcusolverMg.so*' -o -name 'libnvrtc*.alt.so*' \
      -o -name 'libnvshmem_device.*' \) -delete \
 && { /opt/venv/bin/python -m compileall -q -j 0 "$packages" || true; }

# A netty with the fixes that TorchServe's lacks, and a Java that holds what TorchServe
# needs and no more; jlink comes with a JDK only.
FROM wheels AS java
WORKDIR /tmp
# A base without manual pages stops Java's installation script.
# Debian keeps only the newest version of a package, so none is pinned.
# hadolint ignore=DL3008
RUN mkdir -p /usr/share/man/man1 \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openjdk-17-jdk-headless \
 && apt-get download libnetty-java && dpkg -x libnetty-java_*.deb netty \
 && mkdir -p /opt/netty \
 && for part in buffer codec codec-http codec-http2 common handler resolver transport; do \
      cp -L "netty/usr/share/java/netty-$part.jar" /opt/netty/; \
    done \
 && rm -rf /var/lib/apt/lists/* netty \
 && jlink --output /opt/java --strip-java-debug-attributes --no-man-pages --no-header-files --compress=2 \
      --add-modules java.base,java.desktop,java.instrument,java.logging,java.management,java.naming,java.net.http,java.scripting,java.security.jgss,java.sql,java.xml,jdk.crypto.ec,jdk.management,jdk.unsupported,jdk.zipfs

# Two fonts that have the letters of all scripts but for Asian ones, and those. PDFs
# name fonts without embedding them.
FROM ${BASE_IMAGE} AS fonts
WORKDIR /tmp
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get download fonts-freefont-ttf fonts-wqy-microhei \
 && for package in fonts-*.deb; do dpkg -x "$package" packages; done \
 && mkdir -p /opt/fonts \
 && cp packages/usr/share/fonts/truetype/freefont/FreeSerif.ttf \
      packages/usr/share/fonts/truetype/wqy/wqy-microhei.ttc /opt/fonts/ \
 && for package in fonts-freefont-ttf fonts-wqy-microhei; do \
      cp "packages/usr/share/doc/$package/copyright" "/opt/fonts/$package.copyright"; \
    done \
 && rm -rf /var/lib/apt/lists/* packages fonts-*.deb

# The archive; its tool is not needed afterwards.
FROM wheels AS archive
COPY container/requirements-archive.txt /tmp/
# hadolint ignore=SC2086
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /tmp/requirements-archive.txt
WORKDIR /opt/chandra
COPY handler handler
COPY server server
COPY model-store/model-config.yaml model-store/
RUN /opt/venv/bin/python -m server archive

# What runs.
FROM ${BASE_IMAGE} AS serve
ARG SOURCE=unknown
ARG REVISION=unknown
ARG CUDA_VERSION=12.8
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \
      org.opencontainers.image.title=chandra-torchserve \
      org.opencontainers.image.source=${SOURCE} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.licenses=Apache-2.0 \
      chandra.cuda-version=${CUDA_VERSION}
COPY --from=lean /opt/venv /opt/venv
COPY --from=java /opt/java /opt/java
COPY --from=fonts /opt/fonts /usr/share/fonts/chandra
WORKDIR /opt/chandra
COPY LICENSE config.properties ./
COPY model-store/mini model-store/mini
COPY --from=archive /opt/chandra/model-store/chandra.mar model-store/
COPY --from=java /opt/netty build/netty
COPY handler handler
COPY server server
# The root file system may be read-only, so Python's cache of our modules is made now.
RUN /opt/venv/bin/python -m compileall -q -j 0 /opt/chandra \
 && mkdir -p /opt/ml/model
ENV PATH=/opt/venv/bin:/opt/java/bin:$PATH \
    JAVA_HOME=/opt/java \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    # Which devices and libraries the NVIDIA runtime puts in; it decides by itself
    # whether the driver is new enough.
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SERVE_UID=10001 \
    # torch wants a name for whoever it runs as, which may be any number.
    LOGNAME=chandra \
    SOURCE_REVISION=${REVISION}
WORKDIR /tmp
EXPOSE 8080
# No USER: SageMaker wants root. As root with the right to, serve hands the server over.
ENTRYPOINT ["python", "-P", "-m", "server.container"]
CMD ["serve"]
