#!/bin/bash
# /// replay
# issue: "contract 3.1"
# bug_class: a name that is nobody's gets somebody
# timeout: 30
# needs: shared
# break: { edge: [edge-serves-unknown-hosts] }
# ///
# A request under a name that is no tenant's ends at the edge. Bash alone sends it, since other clients tidy names up.
set -eu

place=${HARNESS_BASE#http://}
address=${place%:*}
port=${place##*:}
red=0

# status HOST [VERSION]: the status of a request under this name; with an empty one under none
status() {
    exec 3<>"/dev/tcp/$address/$port"
    { printf 'GET /health HTTP/%s\r\n' "${2:-1.1}"
      [ -z "$1" ] || printf 'Host: %s\r\n' "$1"
      printf 'Connection: close\r\n\r\n'; } >&3
    timeout 10 head -n 1 <&3 | { read -r _ code _ && echo "$code"; }
    exec 3>&-
}

check() {  # check WANTED GOT MESSAGE
    if [ "$1" = "$2" ]; then
        echo "ok  $3"
    else
        echo "RED $3 (status $2)"
        red=1
    fi
}

for tenant in $HARNESS_TENANTS; do
    key=${tenant^^}_HOST
    host=${!key}
    check 200 "$(status "$host")" "$host is served"
    check 200 "$(status "${host^^}:$port")" "so it is in capitals and with a port"
    for stranger in "no-$host" "$host.example" "x.$host" "${host#*.}"; do
        check 421 "$(status "$stranger")" "$stranger is nobody's"
    done
done
check 421 "$(status "$address:$port")" "an address is no tenant"
check 421 "$(status "" 1.0)" "no name is no tenant"
[ $red = 0 ] || echo "failed: not every name is as it should be"
exit $red
