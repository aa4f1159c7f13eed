#!/bin/bash
# Healthy: the node answers get_info with its credentials, says OK, and has nothing left to fetch. A regtest node has no peers, so
# their number tells nothing here.
set -eu
login=$(sed -n 's/^rpc-login=//p' /run/monero/bitmonero.conf)
info=$(printf 'user = "%s"\n' "$login" | curl -sf --digest -K - --max-time 4 http://127.0.0.1:18081/get_info)
case $info in *'"status": "OK"'*) ;; *) echo "status is not OK"; exit 1 ;; esac
case $info in *'"busy_syncing": false'*) echo ok ;; *) echo "busy syncing"; exit 1 ;; esac
