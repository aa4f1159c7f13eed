#!/bin/bash
# `serve` runs the node; `premine N ADDRESS` gives a new chain its first N blocks at difficulty 1 and ends.
set -eu
conf=/run/monero/bitmonero.conf
umask 077
template=$(< /etc/pithead/bitmonero.conf.template)
template=${template//'{USER}'/"$MONERO_NODE_USERNAME"}
template=${template//'{PASSWORD}'/"$MONERO_NODE_PASSWORD"}
prune=()
[ "${MONERO_PRUNE:-1}" = 1 ] && prune=(--prune-blockchain)

if [ "${1:-serve}" = serve ]; then
    printf '%s\n' "${template//'{DIFFICULTY}'/${MONERO_DIFFICULTY:-100}}" > "$conf"
    unset MONERO_NODE_PASSWORD
    monerod --config-file "$conf" --non-interactive "${prune[@]}" &
    node=$!
    # A node that is still starting takes note of SIGTERM and forgets it: say it until it is heard. One that hangs on its way out,
    # which was seen, would hold up whoever stops it for the whole grace of a minute; its database survives a kill.
    trap 'for _ in {1..26}; do kill -TERM "$node" 2>/dev/null || break; sleep 0.3; done; kill -KILL "$node" 2>/dev/null' TERM INT
    set +e
    wait "$node" # ended early by the trap
    wait "$node"
    exit $?
fi

printf '%s\n' "${template//'{DIFFICULTY}'/1}" > "$conf"
monerod --config-file "$conf" --non-interactive "${prune[@]}" &
node=$!
rpc() { # method params
    printf 'user = "%s:%s"\n' "$MONERO_NODE_USERNAME" "$MONERO_NODE_PASSWORD" |
        curl -sf --digest -K - -H 'Content-Type: application/json' --max-time 120 \
            -d "{\"jsonrpc\":\"2.0\",\"id\":\"0\",\"method\":\"$1\",\"params\":$2}" http://127.0.0.1:18081/json_rpc
}
until count=$(rpc get_block_count '{}'); do
    kill -0 "$node" || exit 1
    sleep 0.1
done
count=$(printf '%s' "$count" | sed -n 's/.*"count": \([0-9]*\).*/\1/p')
if [ "$count" -lt "$2" ]; then
    rpc generateblocks "{\"amount_of_blocks\":$(($2 - count)),\"wallet_address\":\"$3\",\"starting_nonce\":0}" > /dev/null
fi
kill -TERM "$node"
wait "$node"
