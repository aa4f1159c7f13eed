#!/bin/sh
# ${COMMENTED_OUT} is no read.
exec timeout "${TIMEOUT_SEC:-30}" app
