#!/bin/bash
# /// replay
# issue: "2395"
# bug_class: a deployment said success, and the old edge went on running
# timeout: 20
# needs: shared
# break: { edge: [edge-is-stale] }
# ///
# The edge, too, says of which build it is. Nothing but bash is needed: it opens TCP connections by itself.
set -eu
if [ -z "${HARNESS_BUILD_ID:-}" ]; then
    echo "skipped: HARNESS_BUILD_ID is not given"
    exit 77
fi

place=${HARNESS_BASE#http://}
exec 3<>"/dev/tcp/${place%:*}/${place##*:}"
printf 'GET /__edge/buildinfo HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n' >&3
answer=$(timeout 10 cat <&3)
wanted="{\"git_sha\": \"$HARNESS_BUILD_ID\"}"
case "$answer" in
    *"$wanted"*) echo "ok  the edge is of build $HARNESS_BUILD_ID" ;;
    *) echo "RED the edge is of build $HARNESS_BUILD_ID (it says ${answer##*$'\r\n\r\n'})"; exit 1 ;;
esac
