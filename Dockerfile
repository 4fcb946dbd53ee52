# Image for SageMaker real-time and asynchronous endpoints, batch transform, and GPU machines.
# It contains no weights and no NVIDIA driver, and needs no registry except that of the base.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Python packages, pinned by version and hash in container/. The requirement files are
# complete, so pip resolves nothing, and unneeded dependencies are not installed.
FROM ${BASE_IMAGE} AS wheels
# cuda or cpu
ARG VARIANT=cuda
# Additional pip arguments, for the CPU build of torch: --extra-index-url https://...
ARG PIP_ARGS=""
COPY container/requirements-${VARIANT}.txt container/requirements-prompts.txt /tmp/
# PIP_ARGS is split into words on purpose.
# hadolint ignore=SC2086
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes --no-deps ${PIP_ARGS} \
      -r "/tmp/requirements-${VARIANT}.txt" \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes --no-deps ${PIP_ARGS} \
      -r /tmp/requirements-prompts.txt \
 && echo /opt/chandra > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/chandra.pth"

# The packages without tests, headers, compilers, pip and CUDA libraries that nothing links
# to. Bytecode is compiled here, because the root file system may be read-only and compiling
# at every start would take seconds.
FROM wheels AS lean
RUN packages="$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && rm -rf "$packages"/torch/test "$packages"/torch/include "$packages"/pip "$packages"/pip-* /opt/venv/bin/pip* \
 && find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete \
 && find "$packages" -path '*/nvidia/*' \( -name 'libcusolverMg.so*' -o -name 'libnvrtc*.alt.so*' \
      -o -name 'libnvshmem_device.*' \) -delete \
 && { /opt/venv/bin/python -m compileall -q -j 0 "$packages" || true; }

# netty with security fixes that TorchServe's version lacks, and a Java runtime with only the
# modules that TorchServe needs. jlink requires a JDK.
FROM wheels AS java
WORKDIR /tmp
# Java's installation script fails on a base image without this folder.
# Versions are not pinned, because Debian keeps only the newest one of a package.
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

# Fonts for PDFs that do not embed theirs: FreeSerif, and WenQuanYi Micro Hei for Chinese,
# Japanese and Korean.
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

# The model archive. Its tool is not part of the final image.
FROM wheels AS archive
COPY container/requirements-archive.txt /tmp/
# hadolint ignore=SC2086
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /tmp/requirements-archive.txt
WORKDIR /opt/chandra
COPY handler handler
COPY server server
COPY model-store/model-config.yaml model-store/
RUN /opt/venv/bin/python -m server archive

# The final image.
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
# Compile bytecode of our modules now, because the root file system may be read-only.
RUN /opt/venv/bin/python -m compileall -q -j 0 /opt/chandra \
 && mkdir -p /opt/ml/model
ENV PATH=/opt/venv/bin:/opt/java/bin:$PATH \
    JAVA_HOME=/opt/java \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    # Devices and libraries that the NVIDIA runtime mounts. The runtime checks the driver's
    # version itself.
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SERVE_UID=10001 \
    # torch requires a user name, and the user id may have none.
    LOGNAME=chandra \
    SOURCE_REVISION=${REVISION}
WORKDIR /tmp
EXPOSE 8080
# There is no USER, because SageMaker requires root. If it is permitted to, serve then runs
# the server as SERVE_UID.
ENTRYPOINT ["python", "-P", "-m", "server.container"]
CMD ["serve"]
