#!/bin/bash
set -eu
template=$(< /etc/pithead/torrc.template)
printf '%s\n' "${template//'{PREFIX}'/"$NETWORK_PREFIX"}" > /run/tor/torrc
exec tor -f /run/tor/torrc --DisableNetwork "${TOR_DISABLE_NETWORK:-0}"
