#!/usr/bin/env bash
# A handler in Python, an Envoy for the client and one for the dispatcher, no broker: an
# event that arrives, one that is filtered out, one that fails, is given up and tried again.
# From the top of a clone, after `make build && hack/tools.sh envoy`.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="${BIN:-$PWD/bin}:$PWD/.tools/bin:$PATH"
example=$PWD/examples/events
work=$(mktemp -d)
cd "$work"
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

mkdir catalog policies
cat > catalog/shop.json <<'JSON'
{"services": [{"name": "mailer", "id": "mailer-1", "address": "127.0.0.1", "port": 9301}]}
JSON
cp "$example/subscription.yaml" policies/

start() { "$@" >> log 2>&1 & pids+=($!); }
await() { curl -s -o /dev/null --retry 40 --retry-all-errors --retry-delay 1 --max-time 60 --fail "$@"; }
until_ok() { for _ in $(seq 100); do "$@" > /dev/null 2>&1 && return; sleep .2; done; "$@"; }

start python3 "$example/mailer.py" 9301
start xds-server --catalog-dir catalog --policy-dir policies --state-dir state \
  --roles xds,admin,events --app-proxy http://127.0.0.1:15002
await http://127.0.0.1:18001/readyz
start meshctl proxy run --service dispatcher --id dispatcher-1 --outbound-port 15002 --admin-port 15003
start meshctl proxy run --service client --id client-1 --outbound-port 15001 --admin-port 15000
until_ok meshctl proxy ready --admin 127.0.0.1:15003
until_ok meshctl proxy ready --admin 127.0.0.1:15000
export http_proxy=http://127.0.0.1:15001 no_proxy=localhost,127.0.0.0/8
delivering() { meshctl events subscription list | grep -q Delivering; }
until_ok delivering

order() { # ID SUBJECT
  until_ok curl -sf http://events.mesh/v1/events \
    -d '{"specversion": "1.0", "id": "'"$1"'", "source": "/shop", "type": "order.created", "subject": "'"$2"'", "data": {"order": '"$1"'}}'
}
mailed() { grep -q "'order': $1" log; }

echo "--- two orders, one of them of the EU"
order 1 eu/ada
order 2 us/bob
until_ok mailed 1
grep mailed log
echo "--- the mailer has no stamps"
touch no-stamps
order 3 eu/eve
until_ok meshctl events dlq show mailer 3
meshctl events dlq list
echo "--- stamps are bought, the event is tried again"
rm no-stamps
meshctl events dlq requeue mailer 3
until_ok mailed 3
grep mailed log
meshctl events subscription list
