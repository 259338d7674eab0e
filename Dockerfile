# syntax=docker/dockerfile:1
# The tag is the version of the packages node-* in package-lock.json: the image has the Node.js of the tests.
FROM node:26.10.0-slim AS base
WORKDIR /app

# Compiles src/ to dist/ and prepares the data of a new embedded database. Needs the optional packages: the compiler is one.
FROM base AS build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --include=dev --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY migrations ./migrations
COPY scripts/prepare-data.ts scripts/build-dashboard.ts scripts/sbom.ts ./scripts/
RUN node_modules/.bin/tsc -p tsconfig.build.json && node scripts/prepare-data.ts \
  && node scripts/build-dashboard.ts && node scripts/sbom.ts

FROM base AS dependencies
COPY package.json package-lock.json .npmrc ./
# Without optional packages: Node.js, which the image has, and a package for another runtime.
RUN npm ci --omit=dev --omit=optional --ignore-scripts

# A test backend; not part of the product.
FROM base AS backend
COPY package.json ./
COPY test_backs ./test_backs
USER node
EXPOSE 8080
CMD ["node", "test_backs/echo.ts", "--host=0.0.0.0", "--port=8080"]

FROM base AS balancer
ENV NODE_ENV=production
COPY package.json ./
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY bin ./bin
COPY lua ./lua
COPY migrations ./migrations
COPY config ./config
# Without PostgreSQL in the configuration, this folder holds the embedded database and the secret of API keys.
RUN mkdir data && chown node:node data
USER node
ENV CONFIG_PATH=config/docker.yaml
# For the health check. Change it together with admin.address.
ENV SLUICE_ADMIN_URL=http://127.0.0.1:9900
EXPOSE 8080 9900
HEALTHCHECK --interval=5s --timeout=2s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(process.env.SLUICE_ADMIN_URL + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "dist/cli.js", "serve"]
