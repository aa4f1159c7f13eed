#!/bin/bash
# Healthy: the control port takes the cookie, and either Tor is bootstrapped, or it runs without a network (stand-in for the
# network only: bootstrap stays at 0 there) and has the keys of its onion services.
set -eu
cookie=$(od -An -v -tx1 /var/lib/tor/control_auth_cookie | tr -d ' \n')
[ "${#cookie}" -eq 64 ] || { echo "cookie has ${#cookie} digits, 64 expected"; exit 1; }
exec 3<>/dev/tcp/127.0.0.1/9051
printf 'AUTHENTICATE %s\r\nGETINFO status/bootstrap-phase\r\nGETCONF DisableNetwork\r\nQUIT\r\n' "$cookie" >&3
answer=$(timeout 5 cat <&3)
case $answer in
    *"PROGRESS=100 TAG=done"*) echo bootstrapped ;;
    *"DisableNetwork=1"*)
        for service in monero tari p2pool; do
            [ "$(stat -c %s /var/lib/tor/$service/hs_ed25519_secret_key)" -eq 96 ] || { echo "no onion key for $service"; exit 1; }
        done
        echo "no network by configuration; onion keys present" ;;
    *) echo "not bootstrapped: $answer"; exit 1 ;;
esac
