#!/usr/bin/env bash
# Three services in Python, an Envoy for the client and one for the coordinator, and
# three orders: one that fits, one that costs too much, one while a service is dead.
# From the top of a clone, after `make build && hack/tools.sh envoy`.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="${BIN:-$PWD/bin}:$PWD/.tools/bin:$PATH"
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

mkdir "$work/catalog"
cat > "$work/catalog/shop.json" <<'JSON'
{"services": [
  {"name": "stock",   "id": "stock-1",   "address": "127.0.0.1", "port": 9201, "meta": {"mesh-transactions": "/tx"}},
  {"name": "payment", "id": "payment-1", "address": "127.0.0.1", "port": 9202, "meta": {"mesh-transactions": "/tx"}},
  {"name": "order",   "id": "order-1",   "address": "127.0.0.1", "port": 9203, "meta": {"mesh-transactions": "/tx"}}
]}
JSON

start() { "$@" >> "$work/log" 2>&1 & pids+=($!); }
await() { curl -s -o /dev/null --retry 40 --retry-all-errors --retry-delay 1 --max-time 60 --fail "$@"; }

start python3 examples/transactions/participant.py stock 9201 "$work/stock.json"
start python3 examples/transactions/participant.py payment 9202 "$work/payment.json"; payment=$!
start python3 examples/transactions/participant.py order 9203 "$work/order.json"
start xds-server --catalog-dir "$work/catalog" --state-dir "$work/state" \
  --roles xds,admin,transactions --app-proxy http://127.0.0.1:15002
await http://127.0.0.1:18001/readyz
start meshctl proxy run --service coordinator --id coordinator-1 --outbound-port 15002 --admin-port 15003
start meshctl proxy run --service client --id client-1 --outbound-port 15001 --admin-port 15000
export http_proxy=http://127.0.0.1:15001 no_proxy=localhost,127.0.0.0/8
await http://transactions.mesh/v1/transactions/none
await http://stock/

buy() { # ID BOOKS COINS
  echo "--- $1: $2 books for $3 coins"
  curl -s http://transactions.mesh/v1/transactions -d @- <<JSON | python3 -c 'import json, sys
t = json.load(sys.stdin); print(t["status"] + ":", t.get("reason") or "")'
{"id": "$1", "timeout": "3s", "participants": [
  {"service": "order",   "prepare": "/tx/prepare", "commit": "/tx/commit", "rollback": "/tx/rollback", "data": {"books": $2}},
  {"service": "stock",   "prepare": "/tx/prepare", "commit": "/tx/commit", "rollback": "/tx/rollback", "data": {"books": $2}},
  {"service": "payment", "prepare": "/tx/prepare", "commit": "/tx/commit", "rollback": "/tx/rollback", "data": {"coins": $3}}
]}
JSON
}
left() { printf 'left: %s books, %s coins\n' \
  "$(curl -s http://stock/ | python3 -c 'import json, sys; print(json.load(sys.stdin)["left"])')" \
  "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["left"])' "$work/payment.json")"; }

buy order-1 2 10
sleep 1; left
buy order-2 2 100
sleep 1; left
kill -9 "$payment"
buy order-3 1 5
start python3 examples/transactions/participant.py payment 9202 "$work/payment.json"
sleep 4; left
echo "--- what the coordinator remembers"
meshctl txn list
