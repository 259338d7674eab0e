#!/bin/sh
# Without another one the configuration of the service.
export CONFIG_PATH="${CONFIG_PATH:-/etc/sluice/sluice.yaml}"
exec /usr/lib/sluice/bin/sluice "$@"
