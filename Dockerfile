# syntax=docker/dockerfile:1
# The tag is the version of the packages node-* in package-lock.json: the image has the Node.js of the tests.
FROM node:26.10.0-slim AS base
WORKDIR /app

# Compiles src/ to dist/ and prepares the data of a new embedded database. Needs the optional packages: the compiler is one.
FROM base AS build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --include=dev --ignore-scripts
COPY tsconfig.json ./
COPY src ./src
COPY migrations ./migrations
COPY scripts/build.ts scripts/build-dashboard.ts scripts/bundle.ts scripts/notices.ts scripts/prepare-data.ts scripts/sbom.ts ./scripts/
RUN node scripts/build.ts
# What remains runs. Without optional packages: Node.js, which the image has, and a package for another runtime.
RUN npm prune --omit=dev --omit=optional --ignore-scripts && find node_modules dist \( -name '*[jt]s.map' -o -name '*.ts' -o -name '*.[cm]ts' \) -type f -delete

# What the product needs of a system: Node.js with the libraries that it is linked with, and nothing else. No shell, no package
# manager, no other program. `env` makes dist/cli.js the command `sluice`.
FROM base AS system
WORKDIR /system
RUN mkdir -p etc usr/local/bin app/data && mkdir -m 1777 tmp \
  && cp "$(command -v node)" usr/local/bin/node && cp --parents /usr/bin/env . \
  && ldd usr/local/bin/node usr/bin/env | grep -o '/[^ :]*so[^ ]*' | sort -u | xargs -I FILE cp -L --parents FILE . \
  && echo 'node:x:1000:1000::/app:/usr/sbin/nologin' > etc/passwd && echo 'node:x:1000:' > etc/group \
  && echo 'hosts: files dns' > etc/nsswitch.conf && ln -s /app/dist/cli.js usr/local/bin/sluice

# A test backend; not part of the product.
FROM base AS backend
COPY package.json ./
COPY test_backs ./test_backs
USER node
EXPOSE 8080
CMD ["node", "test_backs/echo.ts", "--host=0.0.0.0", "--port=8080"]

FROM scratch AS balancer
COPY --from=system /system/ /
WORKDIR /app
ENV PATH=/usr/local/bin
ENV NODE_ENV=production
COPY package.json LICENSE ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY lua ./lua
COPY migrations ./migrations
COPY config ./config
# Without PostgreSQL in the configuration, this folder holds the embedded database and the secret of API keys.
COPY --from=system --chown=1000:1000 /system/app/data ./data
# A number, because Kubernetes cannot tell from a name that it is not root.
USER 1000:1000
ENV CONFIG_PATH=config/docker.yaml
# For the health check. Change it together with admin.address.
ENV SLUICE_ADMIN_URL=http://127.0.0.1:9900
EXPOSE 8080 9900
HEALTHCHECK --interval=5s --timeout=2s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(process.env.SLUICE_ADMIN_URL + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "dist/cli.js", "serve"]
