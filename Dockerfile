# appcore's images, all from Debian 13: `scripts/containers.sh build` makes them, tagged with the git SHA.
#
#   appcore        the program and its libraries, nothing else: no shell, no package manager
#   nginx          in front of it; renders its configuration from the same settings at its start
#   prometheus, alertmanager, redis, postgres   from Debian's packages, where no other image is at hand
#   dev            the compiler, for docker-compose.dev.yml
#
# BASE may be any image of Debian 13 (docs/containers.md tells how to make one without a registry); in production name
# it with its digest. There is no "syntax" line: it would have to be fetched.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS base
ENV DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# No manuals, no translations, no packages kept: for all that is installed below.
RUN printf 'path-exclude /usr/share/%s/*\n' doc man locale info >/etc/dpkg/dpkg.cfg.d/excludes \
    && printf 'path-include /usr/share/doc/*/copyright\n' >>/etc/dpkg/dpkg.cfg.d/excludes \
    && printf 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""; APT::Keep-Downloaded-Packages "false";\n' >/etc/apt/apt.conf.d/no-cache

# --- the program ---

# Changes with this list only: a change of the sources begins below it. Its last line is what development starts besides.
FROM base AS dependencies
RUN apt-get update -q && apt-get install -q -y --no-install-recommends \
        gcc make pkgconf libc6-dev libfcgi-dev libjson-c-dev libsqlite3-dev libpq-dev libsodium-dev libhiredis-dev \
        libunistring-dev libcrypt-dev zlib1g-dev libcurl4-openssl-dev python3 python3-yaml ca-certificates spawn-fcgi file \
        nginx-light openssl curl inotify-tools \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

# For development: the sources are mounted, not copied. It stands here, and has no packages of its own, for the builder that
# Debian's docker.io has: that makes every stage above the one that is asked for.
FROM dependencies AS dev
WORKDIR /src
CMD ["scripts/dev_container.sh"]

FROM dependencies AS build
ARG REVISION
WORKDIR /src
COPY . .
RUN test -n "${REVISION}" || { echo 'Give --build-arg REVISION="$(git rev-parse HEAD)", or use scripts/containers.sh build.'; exit 1; }
RUN make -s -j"$(nproc)" COMMIT="$(printf %.12s "${REVISION}")" all \
    && make -s COMMIT="$(printf %.12s "${REVISION}")" DESTDIR=/installed PREFIX=/usr install-service \
    && strip --strip-unneeded /installed/usr/bin/appcore \
    && scripts/make_root.sh /installed /root-of-appcore \
    && scripts/make_sbom.sh /root-of-appcore "${REVISION}" > /sbom.json \
    && install -D -m 644 /sbom.json /root-of-appcore/usr/share/appcore/sbom.cdx.json \
    && install -d -m 750 /owned/var/lib/appcore /owned/run/appcore

FROM scratch AS appcore
ARG REVISION
ARG VERSION
COPY --from=build /root-of-appcore/ /
# A new volume takes over the owner and the mode of these folders.
COPY --from=build --chown=10001:10001 /owned/var/lib/ /var/lib/
COPY --from=build --chown=10001:10001 /owned/run/ /run/
ENV PATH=/usr/bin ENVIRONMENT=production INSTANCE_ID=API-1 DATA_DIR=/var/lib/appcore RUN_DIR=/run/appcore \
    DATABASE_URL=sqlite:////var/lib/appcore/predictions.db PIPELINES_DIR=/usr/share/appcore/pipelines
USER 10001:10001
WORKDIR /var/lib/appcore
STOPSIGNAL SIGTERM
# SIGTERM lets it finish what it has begun. A worker's container has `appcore work` for its command.
CMD ["spawn-fcgi", "-n", "-s", "/run/appcore/appcore-1.sock", "-M", "0660", "-b", "1024", "--", "/usr/bin/appcore", "serve"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["appcore", "check", "--live"]
LABEL org.opencontainers.image.title="appcore" \
      org.opencontainers.image.description="Prediction service: the program and its libraries" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="scratch"

# --- nginx in front of it ---

FROM base AS nginx-dependencies
RUN apt-get update -q && apt-get install -q -y --no-install-recommends \
        nginx-light openssl libfcgi0t64 libjson-c5 libsqlite3-0 libpq5 libsodium23 libhiredis1.1.0 libcurl4t64 libunistring5 libcrypt1 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt /etc/nginx/sites-enabled \
    && install -d -m 755 -o 33 -g 10001 /etc/appcore/tls /run/nginx/temp

FROM nginx-dependencies AS nginx
ARG REVISION
ARG VERSION
COPY --from=build /installed/usr/bin/appcore /usr/bin/appcore
COPY --from=build /installed/usr/share/appcore/ /usr/share/appcore/
COPY scripts/nginx_container.sh /usr/share/appcore/scripts/
ENV APPCORE_BIN=/usr/bin/appcore ENVIRONMENT=production DATA_DIR=/var/lib/appcore RUN_DIR=/run/appcore \
    DATABASE_URL=sqlite:////var/lib/appcore/predictions.db NGINX_DIR=/run/nginx NGINX_LOG_DIR=/run/nginx/log \
    EDGE_LOG=/run/nginx/edge/edge.log TLS_CERTIFICATE=/etc/appcore/tls/cert.pem TLS_KEY=/etc/appcore/tls/key.pem \
    NGINX_DIRECT=all HTTP_PORT=80 HTTPS_PORT=443 DIRECT_PORT=8000
# www-data with the group of appcore: that is what lets it into the sockets.
USER 33:10001
WORKDIR /
STOPSIGNAL SIGQUIT
CMD ["/usr/share/appcore/scripts/nginx_container.sh"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/share/appcore/scripts/nginx_container.sh", "ping"]
LABEL org.opencontainers.image.title="appcore-nginx" \
      org.opencontainers.image.description="nginx in front of appcore" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --- monitoring, and what a larger installation may have; each as Debian packages it ---

FROM base AS prometheus
RUN apt-get update -q && apt-get install -q -y --no-install-recommends prometheus \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt && install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
WORKDIR /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]

FROM base AS alertmanager
RUN apt-get update -q && apt-get install -q -y --no-install-recommends prometheus-alertmanager \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt && install -d -o 65534 -g 65534 /alertmanager \
    && ln -s prometheus-alertmanager /usr/bin/alertmanager
USER 65534:65534
WORKDIR /alertmanager
ENTRYPOINT ["/usr/bin/alertmanager"]
CMD ["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"]

FROM base AS redis
RUN apt-get update -q && apt-get install -q -y --no-install-recommends redis-server \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt
USER 10002:10002
WORKDIR /tmp
CMD ["redis-server", "--bind", "*", "--protected-mode", "no", "--save", ""]

FROM base AS postgres
RUN install -d /etc/postgresql-common/createcluster.d && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/none.conf \
    && apt-get update -q && apt-get install -q -y --no-install-recommends postgresql-17 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt \
    && install -d -m 700 -o postgres -g postgres /var/lib/postgresql/data \
    && install -d -m 1777 /run/postgresql
COPY scripts/postgres_container.sh /usr/local/bin/
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
USER postgres
WORKDIR /var/lib/postgresql
STOPSIGNAL SIGINT
CMD ["postgres_container.sh"]
